-- Uploads of large files: OpenAI's, part by part through the API, and direct ones to Storage. Both end as a file that waits
-- for its check. The bytes of what is not completed in time are garbage.

create table tunebase.uploads (
  id uuid primary key,
  project_id uuid not null references public.projects on delete cascade,
  -- parts: through the API, each part an object. direct: by the client to Storage, into `object`.
  kind text not null check (kind in ('parts', 'direct')),
  object text check ((kind = 'direct') = (object is not null)),
  filename text not null check (char_length(filename) between 1 and 255),
  purpose text not null check (purpose = 'fine-tune'),
  bytes bigint not null check (bytes > 0),
  mime_type text not null check (char_length(mime_type) <= 255),
  file_expires_after integer check (file_expires_after > 0),
  status text not null default 'pending' check (status in ('pending', 'completed', 'cancelled', 'expired')),
  file_id uuid references public.files on delete set null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);
create index uploads_expiring on tunebase.uploads (expires_at, status);
create index uploads_project on tunebase.uploads (project_id);
create index uploads_file on tunebase.uploads (file_id);

create table tunebase.upload_parts (
  id uuid primary key,
  upload_id uuid not null references tunebase.uploads on delete cascade,
  object text not null unique,
  -- null until all of it is in Storage: the row is there first, so that no object is ever unknown.
  bytes bigint check (bytes >= 0),
  created_at timestamptz not null default now()
);
create index upload_parts_upload on tunebase.upload_parts (upload_id);

-- p_upload: {id, kind, object, filename, purpose, bytes, mime_type, file_expires_after, lives_seconds}.
create function tunebase.create_upload(p_caller jsonb, p_upload jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'files:write');
  v_upload tunebase.uploads;
begin
  insert into tunebase.uploads (
    id, project_id, kind, object, filename, purpose, bytes, mime_type, file_expires_after, expires_at
  ) values (
    (p_upload ->> 'id')::uuid, v_project_id, p_upload ->> 'kind',
    -- Under another prefix than files: the client's token could write the object again after the upload.
    case when p_upload ->> 'kind' = 'direct' then 'incoming/' || v_project_id || '/' || (p_upload ->> 'id') end,
    p_upload ->> 'filename', p_upload ->> 'purpose', (p_upload ->> 'bytes')::bigint, p_upload ->> 'mime_type',
    (p_upload ->> 'file_expires_after')::integer,
    now() + make_interval(secs => (p_upload ->> 'lives_seconds')::integer)
  )
  returning * into v_upload;
  return to_jsonb(v_upload);
end $$;

-- Locks an upload of the caller's; refuses with upload_not_found.
create function tunebase.own_upload(p_caller jsonb, p_id uuid, p_kind text) returns tunebase.uploads
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'files:write');
  v_upload tunebase.uploads;
begin
  select * into v_upload from tunebase.uploads
  where id = p_id and project_id = v_project_id and kind = p_kind
  for update;
  if not found then
    perform tunebase.refuse('upload_not_found');
  end if;
  -- Not swept yet is expired all the same.
  if v_upload.status = 'pending' and v_upload.expires_at <= now() then
    v_upload.status := 'expired';
  end if;
  return v_upload;
end $$;

create function tunebase.refuse_unless_pending(p_upload tunebase.uploads) returns void
language plpgsql set search_path = ''
as $$
begin
  if p_upload.status <> 'pending' then
    perform tunebase.refuse('upload_not_pending', jsonb_build_object('status', p_upload.status));
  end if;
end $$;

-- The place of a part that is about to come.
create function tunebase.begin_part(p_caller jsonb, p_upload_id uuid, p_part_id uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase.uploads := tunebase.own_upload(p_caller, p_upload_id, 'parts');
  v_parts bigint;
  v_object text;
begin
  perform tunebase.refuse_unless_pending(v_upload);
  select count(*) into v_parts from tunebase.upload_parts where upload_id = p_upload_id;
  -- 8 GiB in parts of 1 MiB; without an end, parts would be a way to fill Storage.
  if v_parts >= 8192 then
    perform tunebase.refuse('too_many_parts', '{"most": 8192}');
  end if;
  v_object := 'parts/' || v_upload.project_id || '/' || p_upload_id || '/' || p_part_id;
  insert into tunebase.upload_parts (id, upload_id, object) values (p_part_id, p_upload_id, v_object);
  return v_object;
end $$;

-- A part is in Storage. Refuses when the upload has ended meanwhile, or has more bytes than it announced.
create function tunebase.end_part(p_caller jsonb, p_upload_id uuid, p_part_id uuid, p_bytes bigint) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase.uploads := tunebase.own_upload(p_caller, p_upload_id, 'parts');
  v_part tunebase.upload_parts;
begin
  perform tunebase.refuse_unless_pending(v_upload);
  if p_bytes > v_upload.bytes then
    perform tunebase.refuse('upload_size', jsonb_build_object('bytes', v_upload.bytes, 'parts', p_bytes, 'param', 'data'));
  end if;
  update tunebase.upload_parts set bytes = p_bytes where id = p_part_id and upload_id = p_upload_id returning * into strict v_part;
  return to_jsonb(v_part);
end $$;

-- Parts that nobody needs: gone now, or later where one may still be on its way to Storage.
create function tunebase.discard_parts(p_upload_id uuid, p_keep uuid[]) returns void
language sql set search_path = ''
as $$
  with discarded as (
    delete from tunebase.upload_parts where upload_id = p_upload_id and id <> all (p_keep) returning object, bytes
  )
  insert into tunebase.garbage (bucket, object, next_at)
  select 'datasets', object, now() + case when bytes is null then interval '1 hour' else interval '0' end from discarded
  on conflict do nothing
$$;

-- Makes a file of parts, in the order of p_part_ids. One part is the file's object as it is; several are copied into one
-- by the check, which reads them anyway: Storage cannot join objects, and the trainer gets one address. Again, it
-- answers with the same file.
create function tunebase.complete_upload(p_caller jsonb, p_id uuid, p_part_ids uuid[], p_md5 text, p_file_id uuid)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase.uploads := tunebase.own_upload(p_caller, p_id, 'parts');
  v_sources jsonb;
  v_bytes bigint;
  v_known bigint;
begin
  if v_upload.status = 'completed' then
    return tunebase.upload_json(p_id);
  end if;
  perform tunebase.refuse_unless_pending(v_upload);
  select jsonb_agg(jsonb_build_object('object', p.object, 'bytes', p.bytes) order by o.place) filter (where p.bytes > 0),
    sum(p.bytes), count(distinct p.id)
  into v_sources, v_bytes, v_known
  from unnest(p_part_ids) with ordinality o (id, place)
  join tunebase.upload_parts p on p.id = o.id and p.upload_id = p_id and p.bytes is not null;
  if v_known <> cardinality(p_part_ids) then
    perform tunebase.refuse('part_not_found', '{"param": "part_ids"}');
  elsif v_bytes is distinct from v_upload.bytes then
    perform tunebase.refuse('upload_size', jsonb_build_object(
      'bytes', v_upload.bytes, 'parts', coalesce(v_bytes, 0), 'param', 'part_ids'
    ));
  end if;
  perform tunebase.file_of_upload(
    v_upload, p_file_id, v_sources, p_md5,
    case when jsonb_array_length(v_sources) = 1 then v_sources -> 0 ->> 'object'
    else v_upload.project_id || '/' || p_file_id || '.jsonl' end
  );
  perform tunebase.discard_parts(p_id, p_part_ids);
  -- From here on the parts' objects are the file's, and its check's.
  delete from tunebase.upload_parts where upload_id = p_id;
  return tunebase.upload_json(p_id);
end $$;

create function tunebase.file_of_upload(
  p_upload tunebase.uploads, p_file_id uuid, p_sources jsonb, p_md5 text, p_object text
) returns void
language plpgsql set search_path = ''
as $$
begin
  insert into public.files (id, project_id, filename, purpose, bytes, status, object, expires_at)
  values (
    p_file_id, p_upload.project_id, p_upload.filename, p_upload.purpose, p_upload.bytes, 'uploaded', p_object,
    now() + make_interval(secs => p_upload.file_expires_after)
  );
  insert into tunebase.file_checks (file_id, sources, is_copied, md5)
  values (p_file_id, p_sources, jsonb_array_length(p_sources) > 1, p_md5);
  update tunebase.uploads set status = 'completed', file_id = p_file_id where id = p_upload.id;
end $$;

create function tunebase.cancel_upload(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase.uploads := tunebase.own_upload(p_caller, p_id, 'parts');
begin
  if v_upload.status <> 'cancelled' then
    perform tunebase.refuse_unless_pending(v_upload);
    update tunebase.uploads set status = 'cancelled' where id = p_id;
    perform tunebase.discard_parts(p_id, '{}');
  end if;
  return tunebase.upload_json(p_id);
end $$;

-- A direct upload as it is.
create function tunebase.get_direct_upload(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase.uploads := tunebase.own_upload(p_caller, p_id, 'direct');
begin
  if v_upload.status <> 'completed' then
    perform tunebase.refuse_unless_pending(v_upload);
  end if;
  return tunebase.upload_json(p_id);
end $$;

-- Makes a file of a direct upload whose bytes were moved to p_object, out of the token's reach. Again, it answers with the
-- same file.
create function tunebase.complete_direct_upload(p_caller jsonb, p_id uuid, p_object text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase.uploads := tunebase.own_upload(p_caller, p_id, 'direct');
begin
  if v_upload.status <> 'completed' then
    perform tunebase.refuse_unless_pending(v_upload);
    perform tunebase.file_of_upload(
      v_upload, p_id, jsonb_build_array(jsonb_build_object('object', p_object, 'bytes', v_upload.bytes)), null, p_object
    );
    -- The token lives on for a while and could write there again.
    insert into tunebase.garbage (bucket, object, next_at)
    values ('datasets', v_upload.object, now() + interval '25 hours')
    on conflict do nothing;
  end if;
  return tunebase.upload_json(p_id);
end $$;

-- An upload with its file.
create function tunebase.upload_json(p_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(u) || jsonb_build_object('file', (select to_jsonb(f) from public.files f where f.id = u.file_id))
  from tunebase.uploads u where u.id = p_id
$$;

-- Ends what is past its time: uploads that were not completed, files with an `expires_after` that no open job needs.
create function tunebase.expire_files() returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase.uploads;
  v_file public.files;
  v_count integer := 0;
begin
  for v_upload in
    select * from tunebase.uploads where status = 'pending' and expires_at <= now()
    order by expires_at limit 100 for update skip locked
  loop
    update tunebase.uploads set status = 'expired' where id = v_upload.id;
    perform tunebase.discard_parts(v_upload.id, '{}');
    insert into tunebase.garbage (bucket, object, next_at)
    select 'datasets', o.object, o.next_at
    from (values
      (v_upload.object, now() + interval '25 hours'),
      -- Moved there by a completion that did not come to its end, or is about to be.
      (v_upload.project_id || '/' || v_upload.id || '.jsonl', now() + interval '1 hour')
    ) o (object, next_at)
    where v_upload.kind = 'direct'
    on conflict do nothing;
    v_count := v_count + 1;
  end loop;
  -- Long enough for a complete that is sent again.
  delete from tunebase.uploads where status <> 'pending' and expires_at < now() - interval '2 days';
  for v_file in
    select * from public.files f
    where expires_at <= now() and deleted_at is null and not exists (
      select from public.jobs
      where (training_file = f.id or validation_file = f.id) and not tunebase.is_final(status)
    )
    order by expires_at limit 100 for update skip locked
  loop
    update public.files set deleted_at = now() where id = v_file.id;
    insert into tunebase.garbage (bucket, object) values ('datasets', v_file.object) on conflict do nothing;
    v_count := v_count + 1;
  end loop;
  return v_count;
end $$;
create index files_expiring on public.files (expires_at) where expires_at is not null and deleted_at is null;

alter table tunebase.uploads enable row level security;
alter table tunebase.upload_parts enable row level security;
revoke all on tunebase.uploads, tunebase.upload_parts from public;
revoke execute on function
  tunebase.create_upload(jsonb, jsonb),
  tunebase.own_upload(jsonb, uuid, text),
  tunebase.refuse_unless_pending(tunebase.uploads),
  tunebase.begin_part(jsonb, uuid, uuid),
  tunebase.end_part(jsonb, uuid, uuid, bigint),
  tunebase.discard_parts(uuid, uuid[]),
  tunebase.complete_upload(jsonb, uuid, uuid[], text, uuid),
  tunebase.file_of_upload(tunebase.uploads, uuid, jsonb, text, text),
  tunebase.cancel_upload(jsonb, uuid),
  tunebase.get_direct_upload(jsonb, uuid),
  tunebase.complete_direct_upload(jsonb, uuid, text),
  tunebase.upload_json(uuid),
  tunebase.expire_files()
from public;
grant execute on function
  tunebase.create_upload(jsonb, jsonb),
  tunebase.begin_part(jsonb, uuid, uuid),
  tunebase.end_part(jsonb, uuid, uuid, bigint),
  tunebase.complete_upload(jsonb, uuid, uuid[], text, uuid),
  tunebase.cancel_upload(jsonb, uuid),
  tunebase.get_direct_upload(jsonb, uuid),
  tunebase.complete_direct_upload(jsonb, uuid, text)
to tunebase_api;
grant execute on function tunebase.expire_files() to tunebase_scheduler;
