-- Keeps the index of a job's metadata pairs, which list_jobs filters by.
create function tunebase_internal.index_job_metadata() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'UPDATE' then
    delete from tunebase_internal.job_metadata where job_id = new.id;
  end if;
  if new.metadata <> '{}' then
    insert into tunebase_internal.job_metadata (project_id, pair, job_id)
    select new.project_id, unnest(tunebase_internal.metadata_pairs(new.metadata)), new.id;
  end if;
  return null;
end $$;
