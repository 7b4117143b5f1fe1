-- Jobs whose files are still being checked wait as `validating_files`, and move on when the check ends.

-- No job is queued with a file that was not checked: not when it is created, not when it is resumed after a pause. The
-- shared lock makes the end of the check wait for this transaction, so that it sees the job, or this one sees the end.
create function tunebase.hold_until_checked() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform from public.files
  where id in (new.training_file, new.validation_file) and status = 'uploaded'
  for share;
  if found then
    new.status := 'validating_files';
    new.due_at := null;
    new.queued_at := null;
  end if;
  return new;
end $$;
create trigger hold_until_checked before insert or update of status on public.jobs
for each row when (new.status = 'queued')
execute function tunebase.hold_until_checked();

-- A file's check has ended: its jobs are queued, or fail with it. A paused one fails too, or it could be resumed.
create function tunebase.files_ready(p_file_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_file public.files;
  v_job public.jobs;
  v_param text;
begin
  select * into strict v_file from public.files where id = p_file_id;
  for v_job in
    select * from public.jobs
    where (training_file = p_file_id or validation_file = p_file_id) and status in ('validating_files', 'paused')
    order by id
    for no key update
  loop
    if v_file.status = 'error' then
      v_param := case when v_job.training_file = p_file_id then 'training_file' else 'validation_file' end;
      perform tunebase.fail_job(
        v_job.id, 'invalid_file', format('The %s is not valid: %s', replace(v_param, '_', ' '), v_file.status_details),
        'GET /files/{id} lists what is wrong with each row. Mend it, upload it, and create the job again.'
      );
      update public.jobs set error_param = v_param where id = v_job.id;
    elsif v_job.status = 'validating_files' and not exists (
      select from public.files where id in (v_job.training_file, v_job.validation_file) and status <> 'processed'
    ) then
      perform tunebase.files_valid(v_job.id);
    end if;
  end loop;
end $$;

-- All files of a job that waited for them are valid. It is queued, or waits to be started (wait_for_start).
create function tunebase.files_valid(p_job_id uuid) returns void
language plpgsql set search_path = ''
as $$
begin
  perform tunebase.queue_now(p_job_id, 0);
  perform tunebase.add_event(p_job_id, 'info', case (select status from public.jobs where id = p_job_id)
    when 'queued' then 'Files are valid; the job is queued for a GPU.'
    else 'Files are valid; the job waits to be started.'
  end);
  perform tunebase.tell_overlap(p_job_id);
end $$;

-- How many different rows two files have in common: {rows, exact}; null when one of them was not compared. Files of more
-- than 16,384 different rows are compared by samples, which share their sampled rows because both keep the lowest hashes.
create function tunebase.file_overlap(p_file_id uuid, p_other_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  with compared as (
    select a.hashes as ours, b.hashes as theirs, least(a.threshold, b.threshold) as threshold
    from tunebase.file_rows a, tunebase.file_rows b
    where a.file_id = p_file_id and b.file_id = p_other_id
  ), common as (
    select count(*) as rows from (
      select unnest(ours) as hash from compared intersect select unnest(theirs) from compared
    ) c
    where hash < (select threshold from compared)
  )
  select jsonb_build_object(
    'rows', round(common.rows * 9007199254740992.0 / compared.threshold), 'exact', compared.threshold = 9007199254740992
  )
  from compared, common
$$;

-- Says in a job's log what its two files have in common, if anything.
create function tunebase.tell_overlap(p_job_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_overlap jsonb;
begin
  select tunebase.file_overlap(training_file, validation_file) into v_overlap
  from public.jobs where id = p_job_id and validation_file is not null;
  if (v_overlap ->> 'rows')::bigint > 0 then
    perform tunebase.add_event(
      p_job_id, 'warn',
      format(
        '%s%s rows of the validation file are in the training file too: the validation loss will look better than it is.',
        case when (v_overlap -> 'exact')::boolean then '' else 'About ' end, v_overlap ->> 'rows'
      ),
      'message', jsonb_build_object('overlap', v_overlap)
    );
  end if;
end $$;

-- For jobs whose files were checked before. Deferred to the commit, behind the events of the creation itself.
create function tunebase.tell_overlap_of_new() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase.tell_overlap(new.id);
  return null;
end $$;
create constraint trigger tell_overlap after insert on public.jobs
deferrable initially deferred
for each row when (new.validation_file is not null and new.status <> 'validating_files')
execute function tunebase.tell_overlap_of_new();

revoke execute on function
  tunebase.hold_until_checked(),
  tunebase.files_ready(uuid),
  tunebase.files_valid(uuid),
  tunebase.file_overlap(uuid, uuid),
  tunebase.tell_overlap(uuid),
  tunebase.tell_overlap_of_new()
from public;
