-- An endpoint as jsonb. Raises webhook_endpoint_not_found.
create function tunebase_internal.webhook_endpoint_json(p_project_id uuid, p_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_endpoint tunebase.webhook_endpoints;
begin
  select * into v_endpoint from tunebase.webhook_endpoints where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('webhook_endpoint_not_found');
  end if;
  return to_jsonb(v_endpoint);
end $$;
