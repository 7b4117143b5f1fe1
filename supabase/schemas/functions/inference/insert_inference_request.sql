-- Starts a request for an authorized project; see start_inference. Raises spend_cap_exceeded if its highest possible cost
-- does not fit under the project's cap.
create function tunebase_internal.insert_inference_request(
  p_project_id uuid, p_api_key_id uuid, p_user_id uuid, p_request jsonb
) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_model jsonb := tunebase_internal.require_servable_model(p_project_id, p_request ->> 'model');
  v_reserved numeric := tunebase_internal.inference_reservation(v_model, p_request);
  v_id uuid := tunebase_internal.uuid7();
begin
  insert into tunebase.inference_requests (
    id, project_id, api_key_id, user_id, model, base_model, adapter_id, stream, reserved_usd
  ) values (
    v_id, p_project_id, p_api_key_id, p_user_id, p_request ->> 'model', v_model ->> 'base_model',
    (v_model ->> 'adapter_id')::uuid, (p_request ->> 'stream')::boolean, v_reserved
  );
  if v_reserved > 0 then
    perform tunebase_internal.require_spend_room(p_project_id, v_reserved, true);
  end if;
  return v_model || jsonb_build_object('id', v_id, 'project_id', p_project_id);
end $$;
