-- The enabled base models and the project's own fine-tunes: {offered, own}, newest fine-tune first.
create function tunebase_internal.list_models(p_caller jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'models:read');
begin
  return jsonb_build_object(
    'offered', coalesce((select jsonb_agg(tunebase_internal.base_model_json(m) order by m.id) from tunebase.base_models m where m.enabled), '[]'),
    'own', coalesce((
      select jsonb_agg(tunebase_internal.fine_tune_json(a) order by a.id desc)
      from tunebase.adapters a where a.project_id = v_project_id and a.deleted_at is null
    ), '[]')
  );
end $$;
