-- The Storage prefix of an attempt's files. Unique per attempt: a retry never overwrites another's files.
create function tunebase_internal.artifact_prefix(p_attempt_id uuid) returns text
language sql stable set search_path = ''
as $$
  select project_id || '/' || job_id || '/' || number from tunebase.attempts where id = p_attempt_id
$$;
