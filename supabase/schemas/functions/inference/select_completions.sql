-- The project's stored completions that match a filter: any of {model, metadata, created_after, created_before}, with times in
-- Unix seconds.
create function tunebase_internal.select_completions(p_project_id uuid, p_filter jsonb)
returns setof tunebase.stored_completions
language sql stable set search_path = ''
as $$
  select * from tunebase.stored_completions
  where project_id = p_project_id and expires_at > now()
    and (p_filter ->> 'model' is null or model = p_filter ->> 'model')
    and (p_filter -> 'metadata' is null or metadata @> (p_filter -> 'metadata'))
    and (p_filter ->> 'created_after' is null or created_at >= to_timestamp((p_filter ->> 'created_after')::double precision))
    and (p_filter ->> 'created_before' is null or created_at < to_timestamp((p_filter ->> 'created_before')::double precision))
$$;
