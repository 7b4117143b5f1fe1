-- Retries a validation that failed because of Storage or the database, with backoff, up to twelve times.
create function tunebase_internal.retry_file_validation(p_file_id uuid, p_lease uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_failures integer;
begin
  update tunebase_internal.file_validations
  set failures = failures + 1, next_at = now() + make_interval(secs => tunebase_internal.backoff_seconds(failures))
  where file_id = p_file_id and lease = p_lease
  returning failures into v_failures;
  if v_failures >= 12 then
    perform tunebase_internal.raise_alert('file_check', p_file_id::text, p_reason);
    perform tunebase_internal.finish_file_validation(p_file_id, p_lease, jsonb_build_object(
      'status', 'error', 'details', 'The file could not be read from Storage. Upload it again.'
    ));
  end if;
end $$;
