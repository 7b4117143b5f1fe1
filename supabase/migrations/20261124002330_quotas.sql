-- Quotas of a project: jobs that have not ended, and bytes in Storage. Kept by triggers, so that whatever creates a job or
-- a file keeps them. Spend has its cap in create_job and enforce_spend.

-- Bytes that a project's datasets and adapters take.
create function tunebase.stored_bytes(p_project_id uuid) returns bigint
language sql stable set search_path = ''
as $$
  select coalesce((
    select sum(bytes) from public.files where project_id = p_project_id and deleted_at is null
  ), 0)::bigint + coalesce((
    select sum(bytes) from public.adapters where project_id = p_project_id and deleted_at is null
  ), 0)::bigint
$$;

-- What a project uses of its limits: {running, jobs, storage_bytes, spent_usd}; the money is this month's (UTC), with what
-- is set aside.
create function tunebase.project_use(p_project_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'running', (select count(*) from public.attempts where project_id = p_project_id and state <> 'ended'),
    'jobs', (
      select count(*) from public.jobs
      where project_id = p_project_id and status in ('validating_files', 'queued', 'running', 'paused')
    ),
    'storage_bytes', tunebase.stored_bytes(p_project_id),
    'spent_usd', tunebase.project_spend(p_project_id)
  )
$$;

-- Refuses what would take a project past its bytes. The project's row is locked: two uploads must not take the same room.
-- Call it before bytes are stored, too, where their number is known.
create function tunebase.check_storage_quota(p_project_id uuid, p_bytes bigint) returns void
language plpgsql set search_path = ''
as $$
declare
  v_limit bigint;
  v_used bigint;
begin
  select max_storage_bytes into v_limit from public.projects where id = p_project_id for no key update;
  if v_limit is null then
    return;
  end if;
  v_used := tunebase.stored_bytes(p_project_id);
  if v_used + p_bytes > v_limit then
    perform tunebase.refuse('storage_quota_reached', jsonb_build_object(
      'limit', v_limit, 'used', v_used, 'bytes', p_bytes, 'param', 'file'
    ));
  end if;
end $$;

create function tunebase.keep_storage_quota() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform tunebase.check_storage_quota(new.project_id, new.bytes);
  return new;
end $$;
-- Results are ours to write: a job must not fail at its end because its project is full.
create trigger keep_storage_quota before insert on public.files
for each row when (new.purpose = 'fine-tune') execute function tunebase.keep_storage_quota();

-- An upload that has no room for its file is refused before its bytes come; its file is counted when it is there.
create trigger keep_storage_quota before insert on tunebase.uploads
for each row execute function tunebase.keep_storage_quota();

create function tunebase.keep_job_quota() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_limit integer;
  v_archived timestamptz;
  v_used integer;
begin
  -- The lock is the foreign key's own: who archives the project waits for us, or we for them.
  select max_jobs, archived_at into v_limit, v_archived from public.projects where id = new.project_id for key share;
  if v_archived is not null then
    perform tunebase.refuse('project_archived');
  end if;
  if v_limit is null then
    return new;
  end if;
  select count(*) into v_used from public.jobs
  where project_id = new.project_id and status in ('validating_files', 'queued', 'running', 'paused');
  -- Only near the limit do creates wait for each other, and count again: else none could run beside another. A hundred
  -- is more than there are connections.
  if v_used > v_limit - 100 then
    perform from public.projects where id = new.project_id for no key update;
    select count(*) into v_used from public.jobs
    where project_id = new.project_id and status in ('validating_files', 'queued', 'running', 'paused');
    if v_used >= v_limit then
      perform tunebase.refuse('job_quota_reached', jsonb_build_object('limit', v_limit, 'used', v_used));
    end if;
  end if;
  return new;
end $$;
create trigger keep_job_quota before insert on public.jobs
for each row execute function tunebase.keep_job_quota();

revoke execute on all functions in schema tunebase from public;
