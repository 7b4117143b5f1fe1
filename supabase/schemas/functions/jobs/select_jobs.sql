-- The rows of list_jobs: p_limit + 1 of them, to detect whether there are more.
--
-- force_custom_plan: each call is planned with its own values. A null filter then disappears from the plan, and every
-- combination of filters scans a suitable index and stops at the limit, which a generic plan cannot do.
create function tunebase_internal.select_jobs(p_project_id uuid, p_after uuid, p_limit integer, p_filter jsonb) returns jsonb
language plpgsql stable set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_status text := p_filter ->> 'status';
  v_model text := p_filter ->> 'model';
  v_plain boolean := p_filter ? 'without_metadata';
  v_metadata jsonb := p_filter -> 'metadata';
  v_pair uuid := (tunebase_internal.metadata_pairs(v_metadata))[1];
  v_from timestamptz := to_timestamp((p_filter ->> 'created_after')::double precision);
  v_until timestamptz := to_timestamp((p_filter ->> 'created_before')::double precision);
  -- Ids sort by time, so the list's own index serves a range of times. An id is made while its transaction runs, a little
  -- later than created_at, which is the transaction's start.
  v_first_id uuid := tunebase_internal.uuid7_lower_bound(v_from);
  v_end_id uuid := tunebase_internal.uuid7_lower_bound(v_until + interval '10 minutes');
  v_rows jsonb;
begin
  v_end_id := least(v_end_id, p_after);
  if v_pair is null then
    select jsonb_agg(to_jsonb(j) - 'plan' order by j.id desc) into v_rows from (
      select * from tunebase.jobs
      where project_id = p_project_id
        and (v_first_id is null or id >= v_first_id) and (v_end_id is null or id < v_end_id)
        and (v_from is null or created_at >= v_from) and (v_until is null or created_at < v_until)
        and (v_status is null or status = v_status) and (v_model is null or base_model = v_model)
        and (not v_plain or metadata = '{}')
      order by id desc limit p_limit + 1
    ) j;
  else
    select jsonb_agg(to_jsonb(j) - 'plan' order by j.id desc) into v_rows from (
      -- `offset 0` keeps the planner from joining all jobs that match: the pairs' order is the list's, and the limit ends it.
      select j.* from tunebase_internal.job_metadata m
      cross join lateral (select * from tunebase.jobs where id = m.job_id offset 0) j
      where m.project_id = p_project_id and m.pair = v_pair and j.metadata @> v_metadata
        and (v_first_id is null or m.job_id >= v_first_id) and (v_end_id is null or m.job_id < v_end_id)
        and (v_from is null or j.created_at >= v_from) and (v_until is null or j.created_at < v_until)
        and (v_status is null or j.status = v_status) and (v_model is null or j.base_model = v_model)
        and (not v_plain or j.metadata = '{}')
      order by m.job_id desc limit p_limit + 1
    ) j;
  end if;
  return v_rows;
end $$;
