-- Warns in a job's log if its two files have rows in common.
create function tunebase_internal.warn_dataset_overlap(p_job_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_overlap jsonb;
begin
  select tunebase_internal.file_overlap(training_file, validation_file) into v_overlap
  from tunebase.jobs where id = p_job_id and validation_file is not null;
  if (v_overlap ->> 'rows')::bigint > 0 then
    perform tunebase_internal.add_event(
      p_job_id, 'warn',
      format(
        '%s%s rows of the validation file are also in the training file, so the validation loss will be too optimistic.',
        case when (v_overlap -> 'exact')::boolean then '' else 'About ' end, v_overlap ->> 'rows'
      ),
      'message', jsonb_build_object('overlap', v_overlap)
    );
  end if;
end $$;
