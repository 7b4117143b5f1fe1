create function tunebase_internal.get_evaluation(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase_internal.evaluation_json(tunebase_internal.authorize_evaluation(p_caller, p_id, 'models:read'));
end $$;
