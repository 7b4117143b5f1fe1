-- Lists of jobs by metadata, in the list's own order. An index on the column itself (GIN) knows no order: among a million
-- jobs a page took four times as long as among a thousand, because each of the project's newest jobs was looked at.

drop index public.jobs_metadata;

-- A row for each pair; a hash of it, because a value may be longer than an index takes.
create table tunebase.job_metadata (
  project_id uuid not null,
  pair uuid not null,
  job_id uuid not null references public.jobs on delete cascade,
  primary key (project_id, pair, job_id)
);
create index job_metadata_job on tunebase.job_metadata (job_id);

-- {"key": "value", …} as hashes of its pairs.
create function tunebase.metadata_pairs(p_metadata jsonb) returns setof uuid
language sql immutable set search_path = ''
as $$
  select md5(jsonb_build_object(key, value)::text)::uuid from jsonb_each(p_metadata)
$$;

create function tunebase.keep_job_metadata() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'UPDATE' then
    delete from tunebase.job_metadata where job_id = new.id;
  end if;
  insert into tunebase.job_metadata (project_id, pair, job_id)
  select new.project_id, tunebase.metadata_pairs(new.metadata), new.id;
  return null;
end $$;

create trigger job_metadata_of_new after insert on public.jobs
for each row when (new.metadata <> '{}') execute function tunebase.keep_job_metadata();
create trigger job_metadata_of_changed after update of metadata on public.jobs
for each row when (new.metadata is distinct from old.metadata) execute function tunebase.keep_job_metadata();

insert into tunebase.job_metadata (project_id, pair, job_id)
select project_id, tunebase.metadata_pairs(metadata), id from public.jobs;

-- As before, but with metadata the list is read from the pairs.
create or replace function tunebase.list_jobs(p_caller jsonb, p_after uuid, p_limit integer, p_filter jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:read');
  v_from timestamptz := to_timestamp((p_filter ->> 'created_after')::double precision);
  v_until timestamptz := to_timestamp((p_filter ->> 'created_before')::double precision);
  v_pair uuid := (select pair from tunebase.metadata_pairs(p_filter -> 'metadata') pair limit 1);
  v_tables text := 'public.jobs j';
  v_project text := 'j.project_id';
  v_id text := 'j.id';
  v_where text := '';
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from public.jobs where id = p_after and project_id = v_project_id) then
    perform tunebase.refuse('cursor_not_found');
  end if;
  if v_pair is not null then
    v_tables := 'tunebase.job_metadata m join public.jobs j on j.id = m.job_id';
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
  using v_project_id, p_after, p_limit, p_filter, tunebase.uuid7_at(v_from), v_from,
    tunebase.uuid7_at(v_until + interval '10 minutes'), v_until, v_pair;
  return tunebase.page(v_rows, p_limit);
end $$;

alter table tunebase.job_metadata enable row level security;
revoke execute on function tunebase.metadata_pairs(jsonb), tunebase.keep_job_metadata() from public;
