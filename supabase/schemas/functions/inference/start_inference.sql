-- Starts a request for a model: reserves its highest possible cost and records it. p_request: {model, stream, store} and the
-- fields of inference_reservation. Returns the model (require_servable_model) with the request's id and project_id.
create function tunebase_internal.start_inference(p_caller jsonb, p_request jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'inference');
begin
  if (p_request ->> 'store')::boolean then
    perform tunebase_internal.require_completion_storage(v_project_id);
  end if;
  return tunebase_internal.insert_inference_request(
    v_project_id,
    (select api_key_id from tunebase_internal.api_key_hashes where hash = decode(p_caller ->> 'key_hash', 'hex')),
    (p_caller ->> 'user_id')::uuid, p_request
  );
end $$;
