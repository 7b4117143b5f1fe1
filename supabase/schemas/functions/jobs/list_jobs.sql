-- As before, but with metadata the list is read from the pairs.
-- p_filter: any of {status, model, created_after, created_before (Unix seconds: from, and until but not at), metadata (all
-- of these), without_metadata: true}.
create function tunebase_internal.list_jobs(p_caller jsonb, p_after uuid, p_limit integer, p_filter jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_from timestamptz := to_timestamp((p_filter ->> 'created_after')::double precision);
  v_until timestamptz := to_timestamp((p_filter ->> 'created_before')::double precision);
  v_pair uuid := (select pair from tunebase_internal.metadata_pairs(p_filter -> 'metadata') pair limit 1);
  v_tables text := 'tunebase.jobs j';
  v_project text := 'j.project_id';
  v_id text := 'j.id';
  v_where text := '';
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from tunebase.jobs where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  if v_pair is not null then
    v_tables := 'tunebase_internal.job_metadata m join tunebase.jobs j on j.id = m.job_id';
    v_project := 'm.project_id';
    v_id := 'm.job_id';
    v_where := ' and m.pair = $9 and j.metadata @> ($4 -> ''metadata'')';
  end if;
  if p_after is not null then
    v_where := v_where || format(' and %s < $2', v_id);
  end if;
  if p_filter ? 'status' then
    v_where := v_where || ' and j.status = $4 ->> ''status''';
  end if;
  if p_filter ? 'model' then
    v_where := v_where || ' and j.base_model = $4 ->> ''model''';
  end if;
  if p_filter ? 'without_metadata' then
    v_where := v_where || ' and j.metadata = ''{}''';
  end if;
  -- Ids sort by time: the range is read from the list's own index. An id is made when its transaction runs, a little
  -- later than the time that created_at shows, its beginning.
  if v_from is not null then
    v_where := v_where || format(' and %s >= $5 and j.created_at >= $6', v_id);
  end if;
  if v_until is not null then
    v_where := v_where || format(' and %s < $7 and j.created_at < $8', v_id);
  end if;
  -- Put together and planned anew: a condition that may or may not be there would have one plan for all, without indexes.
  execute format(
    'select jsonb_agg(to_jsonb(j) - ''plan'' order by j.id desc) from (
       select j.* from %s where %s = $1%s order by %s desc limit $3 + 1
     ) j', v_tables, v_project, v_where, v_id
  )
  into v_rows
  using v_project_id, p_after, p_limit, p_filter, tunebase_internal.uuid7_lower_bound(v_from), v_from,
    tunebase_internal.uuid7_lower_bound(v_until + interval '10 minutes'), v_until, v_pair;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
