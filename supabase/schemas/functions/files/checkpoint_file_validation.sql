-- Saves a validation's progress; p_lease_seconds 0 releases it for the next worker. Returns false if another worker holds the
-- lease or the file is gone.
create function tunebase_internal.checkpoint_file_validation(
  p_file_id uuid, p_lease uuid, p_state jsonb, p_upload_url text, p_lease_seconds integer
) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update tunebase_internal.file_validations
  set state = p_state, upload_url = p_upload_url, failures = 0, next_at = now() + make_interval(secs => p_lease_seconds)
  where file_id = p_file_id and lease = p_lease;
  return found;
end $$;
