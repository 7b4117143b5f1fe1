create function tunebase_internal.delete_evaluation(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.authorize_evaluation(p_caller, p_id, 'inference');
  delete from tunebase.evaluations where id = p_id;
end $$;
