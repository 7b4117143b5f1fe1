-- Starts a request for a model: reserves its highest possible cost and records it. p_request: {model, stream, store} and what
-- reserve_inference_spend reads. Returns the model (require_servable_model) with the request's id and project_id.
create function tunebase_internal.start_inference(p_caller jsonb, p_request jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'inference');
  v_model jsonb := tunebase_internal.require_servable_model(v_project_id, p_request ->> 'model');
  v_id uuid := tunebase_internal.uuid7();
begin
  if (p_request ->> 'store')::boolean then
    perform tunebase_internal.require_completion_storage(v_project_id);
  end if;
  insert into tunebase.inference_requests (
    id, project_id, api_key_id, user_id, model, base_model, adapter_id, stream, reserved_usd
  ) values (
    v_id, v_project_id,
    (select api_key_id from tunebase_internal.api_key_hashes where hash = decode(p_caller ->> 'key_hash', 'hex')),
    (p_caller ->> 'user_id')::uuid, p_request ->> 'model', v_model ->> 'base_model', (v_model ->> 'adapter_id')::uuid,
    (p_request ->> 'stream')::boolean, tunebase_internal.reserve_inference_spend(v_project_id, v_model, p_request)
  );
  return v_model || jsonb_build_object('id', v_id, 'project_id', v_project_id);
end $$;
