create function tunebase_internal.notification_channel_json(p_project_id uuid, p_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_channel tunebase.notification_channels;
begin
  select * into v_channel from tunebase.notification_channels where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('notification_channel_not_found');
  end if;
  return to_jsonb(v_channel);
end $$;
