-- Stops an evaluation; its answers are kept. Does nothing to one that has ended.
create function tunebase_internal.cancel_evaluation(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_evaluation tunebase.evaluations := tunebase_internal.authorize_evaluation(p_caller, p_id, 'inference');
begin
  perform tunebase_internal.end_evaluation(p_id, 'cancelled', null);
  select * into v_evaluation from tunebase.evaluations where id = p_id;
  return tunebase_internal.evaluation_json(v_evaluation);
end $$;
