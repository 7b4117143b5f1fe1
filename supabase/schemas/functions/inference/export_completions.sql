-- The newest p_limit stored completions that match a filter (select_completions) and fit in p_max_bytes, as chat rows for
-- training, oldest first, with OpenAI's role "developer" as "system". Omits truncated answers. Raises no_completions_found.
create function tunebase_internal.export_completions(p_caller jsonb, p_filter jsonb, p_limit integer, p_max_bytes integer)
returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_rows text;
begin
  with newest as (
    select c.id, (
      jsonb_build_object('messages', (
        select coalesce(
          jsonb_agg(case when m ->> 'role' = 'developer' then m || '{"role": "system"}' else m end order by place), '[]'
        )
        from jsonb_array_elements(c.messages) with ordinality e (m, place)
      ) || jsonb_build_array(c.answer))
      || case when c.tools is null then '{}' else jsonb_build_object('tools', c.tools) end
    )::text as line
    from tunebase_internal.select_completions(v_project_id, p_filter) c
    where c.answer is not null
    order by c.id desc limit p_limit
  ), counted as (
    select id, line, sum(octet_length(line) + 1) over (order by id desc) as bytes from newest
  )
  select string_agg(line || E'\n', '' order by id) into v_rows from counted where bytes <= p_max_bytes;
  if v_rows is null then
    perform tunebase_internal.raise_api_error('no_completions_found');
  end if;
  return v_rows;
end $$;
