-- Logs what a trigger could not do, as a row and as a warning. Cannot fail itself.
create function tunebase_internal.log_trigger_failure(p_trigger text, p_job_id uuid, p_type text, p_error text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  raise warning 'tunebase: trigger % failed: %', p_trigger, p_error;
  insert into tunebase_internal.trigger_failures (trigger, job_id, type, error) values (p_trigger, p_job_id, p_type, p_error);
exception when others then
  raise warning 'tunebase: the failure could not be logged: %', sqlerrm;
end $$;
