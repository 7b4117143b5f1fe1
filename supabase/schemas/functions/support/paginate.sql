-- One page as {data, has_more}. p_rows holds one row more than the page when there are more.
create function tunebase_internal.paginate(p_rows jsonb, p_limit integer) returns jsonb
language sql immutable set search_path = ''
as $$
  select jsonb_build_object(
    'data', case when jsonb_array_length(coalesce(p_rows, '[]')) > p_limit then p_rows - p_limit else coalesce(p_rows, '[]') end,
    'has_more', jsonb_array_length(coalesce(p_rows, '[]')) > p_limit
  )
$$;
