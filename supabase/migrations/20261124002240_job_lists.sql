-- Lists of jobs by status, model, time of creation and metadata. Every filter has an index whose order is the list's own,
-- newest first, so that a page costs the same however many jobs there are, and stays what it is while others are created.

create index jobs_project_status on public.jobs (project_id, status, id desc);
create index jobs_project_model on public.jobs (project_id, base_model, id desc);
create index jobs_project_without_metadata on public.jobs (project_id, id desc) where metadata = '{}';

-- The least id of version 7 that could have been made at a time.
create function tunebase.uuid7_at(p_time timestamptz) returns uuid
language sql immutable set search_path = ''
as $$
  select (lpad(to_hex(floor(extract(epoch from p_time) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;

drop function tunebase.list_jobs(jsonb, uuid, integer, jsonb);
-- p_filter: any of {status, model, created_after, created_before (Unix seconds: from, and until but not at), metadata (all
-- of these), without_metadata: true}.
create function tunebase.list_jobs(p_caller jsonb, p_after uuid, p_limit integer, p_filter jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:read');
  v_from timestamptz := to_timestamp((p_filter ->> 'created_after')::double precision);
  v_until timestamptz := to_timestamp((p_filter ->> 'created_before')::double precision);
  v_where text := 'project_id = $1';
  v_rows jsonb;
begin
  if p_after is not null then
    if not exists (select from public.jobs where id = p_after and project_id = v_project_id) then
      perform tunebase.refuse('cursor_not_found');
    end if;
    v_where := v_where || ' and id < $2';
  end if;
  if p_filter ? 'status' then
    v_where := v_where || ' and status = $4 ->> ''status''';
  end if;
  if p_filter ? 'model' then
    v_where := v_where || ' and base_model = $4 ->> ''model''';
  end if;
  if p_filter ? 'metadata' then
    v_where := v_where || ' and metadata @> ($4 -> ''metadata'')';
  end if;
  if p_filter ? 'without_metadata' then
    v_where := v_where || ' and metadata = ''{}''';
  end if;
  -- Ids sort by time: the range is read from the list's own index. An id is made when its transaction runs, a little
  -- later than the time that created_at shows, its beginning.
  if v_from is not null then
    v_where := v_where || ' and id >= $5 and created_at >= $6';
  end if;
  if v_until is not null then
    v_where := v_where || ' and id < $7 and created_at < $8';
  end if;
  -- Put together and planned anew: a condition that may or may not be there would have one plan for all, without indexes.
  execute format(
    'select jsonb_agg(to_jsonb(j) - ''plan'' order by j.id desc) from (
       select * from public.jobs where %s order by id desc limit $3 + 1
     ) j', v_where
  )
  into v_rows
  using v_project_id, p_after, p_limit, p_filter, tunebase.uuid7_at(v_from), v_from,
    tunebase.uuid7_at(v_until + interval '10 minutes'), v_until;
  return tunebase.page(v_rows, p_limit);
end $$;

revoke execute on all functions in schema tunebase from public;
grant execute on function tunebase.list_jobs(jsonb, uuid, integer, jsonb) to tunebase_api;
