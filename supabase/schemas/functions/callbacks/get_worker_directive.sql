-- A worker's directive, and the prefix of its attempt's files.
create function tunebase_internal.get_worker_directive(p_attempt_id uuid, p_worker_id text, p_fence integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts;
begin
  select * into v_attempt from tunebase.attempts where id = p_attempt_id;
  return jsonb_build_object(
    'directive', tunebase_internal.worker_directive(v_attempt, p_worker_id, p_fence),
    'prefix', tunebase_internal.artifact_prefix(p_attempt_id)
  );
end $$;
