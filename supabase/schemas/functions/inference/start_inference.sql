-- Starts a request for a model: reserves its highest possible cost and records it. p_request: {model, stream} and what
-- reserve_inference_spend reads. Returns the model (require_servable_model) with the request's id and project_id.
create function tunebase_internal.start_inference(p_caller jsonb, p_request jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase_internal.insert_inference_request(
    tunebase_internal.authorize(p_caller, 'inference'),
    (select api_key_id from tunebase_internal.api_key_hashes where hash = decode(p_caller ->> 'key_hash', 'hex')),
    (p_caller ->> 'user_id')::uuid, p_request
  );
end $$;
