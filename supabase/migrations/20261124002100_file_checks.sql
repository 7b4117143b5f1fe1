-- Files and their checks. Small files are checked in the request that brings them; large ones in the background, in
-- slices: how far a check has come is kept here, so that whoever goes on does so where the last one stopped.

-- Hashes of a file's rows, for comparing it with another: all that are below the threshold (2^53 is all of them).
create table tunebase.file_rows (
  file_id uuid primary key references public.files on delete cascade,
  threshold bigint not null check (threshold between 1 and 9007199254740992),
  hashes bigint[] not null
);

create table tunebase.file_checks (
  file_id uuid primary key references public.files on delete cascade,
  -- Where the bytes lie, in their order: [{object, bytes}] in the bucket `datasets`.
  sources jsonb not null check (jsonb_array_length(sources) > 0),
  -- Several sources are copied into the file's one object by a resumable upload, whose address this is once it was begun.
  is_copied boolean not null,
  upload_url text,
  -- What the client says the MD5 is.
  md5 text check (md5 ~ '^[0-9a-f]{32}$'),
  -- How far it is; the scheduler's own (scheduler/validate.ts).
  state jsonb,
  -- Who is at it. A new lease makes the old one's writes void.
  lease uuid,
  -- When it may be taken (again).
  next_at timestamptz not null default now(),
  -- Failures since it last came on.
  failures integer not null default 0
);
create index file_checks_next on tunebase.file_checks (next_at);

-- Records a file whose bytes lie in Storage and have been checked: {id, filename, purpose, bytes, sha256, report, object,
-- rows: {threshold, hashes}, expires_after}. Safe to call twice.
create function tunebase.create_file(p_caller jsonb, p_file jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'files:write');
  v_id uuid := (p_file ->> 'id')::uuid;
  v_file public.files;
begin
  insert into public.files (id, project_id, filename, purpose, bytes, sha256, status, report, object, expires_at)
  values (
    v_id, v_project_id, p_file ->> 'filename', p_file ->> 'purpose', (p_file ->> 'bytes')::bigint, p_file ->> 'sha256',
    'processed', p_file -> 'report', p_file ->> 'object',
    now() + make_interval(secs => (p_file ->> 'expires_after')::integer)
  )
  on conflict (id) do nothing;
  select * into strict v_file from public.files where id = v_id and project_id = v_project_id;
  delete from tunebase.garbage where bucket = 'datasets' and object = v_file.object;
  perform tunebase.keep_rows(v_id, p_file -> 'rows');
  return to_jsonb(v_file);
end $$;

create function tunebase.keep_rows(p_file_id uuid, p_rows jsonb) returns void
language sql set search_path = ''
as $$
  insert into tunebase.file_rows (file_id, threshold, hashes)
  values (
    p_file_id, (p_rows ->> 'threshold')::bigint,
    array(select hash::bigint from jsonb_array_elements_text(p_rows -> 'hashes') hash)
  )
  on conflict (file_id) do nothing
$$;

-- Takes the check that is due for p_lease_seconds; null when none is.
create function tunebase.claim_check(p_lease_seconds integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select file_id from tunebase.file_checks where next_at <= now() order by next_at limit 1 for update skip locked
  ), taken as (
    update tunebase.file_checks c
    set lease = gen_random_uuid(), next_at = now() + make_interval(secs => p_lease_seconds)
    from due where c.file_id = due.file_id
    returning c.*
  )
  select to_jsonb(t) || jsonb_build_object('object', f.object, 'bytes', f.bytes)
  from taken t join public.files f on f.id = t.file_id
$$;

-- Keeps how far a check has come. p_lease_seconds 0 gives it back to be gone on with. false: somebody else is at it, or
-- the file is gone.
create function tunebase.save_check(
  p_file_id uuid, p_lease uuid, p_state jsonb, p_upload_url text, p_lease_seconds integer
) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update tunebase.file_checks
  set state = p_state, upload_url = p_upload_url, failures = 0, next_at = now() + make_interval(secs => p_lease_seconds)
  where file_id = p_file_id and lease = p_lease;
  return found;
end $$;

-- Ends a check: {status, details, report, sha256, rows}. The jobs that waited for the file move on. Parts that were
-- copied are not needed any more. The file's row is locked before the check's and the jobs', as everywhere.
create function tunebase.end_check(p_file_id uuid, p_lease uuid, p_result jsonb) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_file public.files;
  v_check tunebase.file_checks;
begin
  select * into v_file from public.files where id = p_file_id for no key update;
  delete from tunebase.file_checks where file_id = p_file_id and lease = p_lease returning * into v_check;
  if not found then
    return false;
  end if;
  update public.files
  set status = p_result ->> 'status', status_details = p_result ->> 'details',
    report = coalesce(p_result -> 'report', '{}'), sha256 = p_result ->> 'sha256'
  where id = p_file_id;
  if p_result -> 'rows' is not null and p_result ->> 'status' = 'processed' then
    perform tunebase.keep_rows(p_file_id, p_result -> 'rows');
  end if;
  insert into tunebase.garbage (bucket, object)
  select 'datasets', s ->> 'object' from jsonb_array_elements(v_check.sources) s where s ->> 'object' <> v_file.object
  on conflict do nothing;
  perform tunebase.files_ready(p_file_id);
  return true;
end $$;

-- Storage or the database did not answer: the check is tried again later, and given up when that never helps.
create function tunebase.check_failed(p_file_id uuid, p_lease uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_failures integer;
begin
  update tunebase.file_checks
  set failures = failures + 1, next_at = now() + make_interval(secs => least(300, 5 * power(2, failures)))
  where file_id = p_file_id and lease = p_lease
  returning failures into v_failures;
  if v_failures >= 12 then
    perform tunebase.alert('file_check', p_file_id::text, p_reason);
    perform tunebase.end_check(p_file_id, p_lease, jsonb_build_object(
      'status', 'error', 'details', 'The file could not be read from Storage. Upload it again.'
    ));
  end if;
end $$;

-- A file that is deleted while it is checked is not checked any more. What a copy may still finish is removed later.
create function tunebase.forget_check() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_check tunebase.file_checks;
begin
  delete from tunebase.file_rows where file_id = new.id;
  delete from tunebase.file_checks where file_id = new.id returning * into v_check;
  if found then
    insert into tunebase.garbage (bucket, object, next_at)
    select 'datasets', s ->> 'object', now() from jsonb_array_elements(v_check.sources) s
    union
    select 'datasets', new.object, now() + interval '1 hour' where v_check.is_copied
    on conflict do nothing;
  end if;
  return null;
end $$;
create trigger forget_check after update of deleted_at on public.files
for each row when (old.deleted_at is null and new.deleted_at is not null)
execute function tunebase.forget_check();

alter table tunebase.file_rows enable row level security;
alter table tunebase.file_checks enable row level security;
revoke all on tunebase.file_rows, tunebase.file_checks from public;
revoke execute on function
  tunebase.create_file(jsonb, jsonb),
  tunebase.keep_rows(uuid, jsonb),
  tunebase.claim_check(integer),
  tunebase.save_check(uuid, uuid, jsonb, text, integer),
  tunebase.end_check(uuid, uuid, jsonb),
  tunebase.check_failed(uuid, uuid, text),
  tunebase.forget_check()
from public;
grant execute on function tunebase.create_file(jsonb, jsonb) to tunebase_api;
grant execute on function
  tunebase.claim_check(integer),
  tunebase.save_check(uuid, uuid, jsonb, text, integer),
  tunebase.end_check(uuid, uuid, jsonb),
  tunebase.check_failed(uuid, uuid, text)
to tunebase_scheduler;
