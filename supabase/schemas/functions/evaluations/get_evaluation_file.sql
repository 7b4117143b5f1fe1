-- A file to evaluate models with.
create function tunebase_internal.get_evaluation_file(p_caller jsonb, p_id uuid) returns jsonb
language sql security definer set search_path = ''
as $$
  select to_jsonb(tunebase_internal.require_file(tunebase_internal.authorize(p_caller, 'inference'), p_id))
$$;
