-- The rows of an evaluation by line, each with its answers so far in the order of the models. p_after: a line.
create function tunebase_internal.list_evaluation_rows(p_caller jsonb, p_id uuid, p_after integer, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_evaluation tunebase.evaluations := tunebase_internal.authorize_evaluation(p_caller, p_id, 'models:read');
  v_rows jsonb;
begin
  select jsonb_agg(to_jsonb(r) || jsonb_build_object('answers', (
    select coalesce(jsonb_agg(to_jsonb(a) || jsonb_build_object('model', v_evaluation.models[a.model_number])
      order by a.model_number), '[]')
    from tunebase.evaluation_answers a where a.evaluation_id = p_id and a.line = r.line
  )) order by r.line) into v_rows from (
    select * from tunebase.evaluation_rows
    where evaluation_id = p_id and line > coalesce(p_after, 0)
    order by line limit p_limit + 1
  ) r;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
