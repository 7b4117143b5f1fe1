-- Warns that a succeeded job's worker ended before it reported its push to the Hugging Face Hub, if it was to push.
create function tunebase_internal.warn_unconfirmed_push(p_job_id uuid) returns void
language sql set search_path = ''
as $$
  select tunebase_internal.add_event(id, 'warn', format(
    'The worker ended before it reported the push to the Hugging Face Hub. Check %1$s, or push the adapter yourself: '
    'tunebase adapter push ftjob-%2$s %1$s%3$s',
    huggingface ->> 'repo', replace(id::text, '-', ''),
    case when (huggingface ->> 'private')::boolean then '' else ' --public' end))
  from tunebase.jobs
  where id = p_job_id and status = 'succeeded' and huggingface is not null;
$$;
