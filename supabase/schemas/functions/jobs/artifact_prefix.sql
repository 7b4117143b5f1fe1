-- Where an attempt's files lie. Unique to the attempt: a retry never writes over what another has written.
create function tunebase_internal.artifact_prefix(p_attempt_id uuid) returns text
language sql stable set search_path = ''
as $$
  select project_id || '/' || job_id || '/' || number from tunebase.attempts where id = p_attempt_id
$$;
