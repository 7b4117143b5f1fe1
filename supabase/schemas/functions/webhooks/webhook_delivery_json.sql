create function tunebase_internal.webhook_delivery_json(p_project_id uuid, p_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_delivery tunebase.webhook_deliveries;
begin
  select * into v_delivery from tunebase.webhook_deliveries where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('webhook_delivery_not_found');
  end if;
  return to_jsonb(v_delivery) || jsonb_build_object('attempts', coalesce((
    select jsonb_agg(to_jsonb(a) order by a.id)
    -- Bounded, because a delivery can be replayed without limit.
    from (select * from tunebase.webhook_attempts where delivery_id = p_id order by id desc limit 50) a
  ), '[]'));
end $$;
