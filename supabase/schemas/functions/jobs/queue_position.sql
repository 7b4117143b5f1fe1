-- A job's position in the whole queue and among its project's jobs; null if it is not queued. Each count stops at 100: with
-- 1,000, it took 40% of a create_job in a long queue. One pass over the head of the queue yields both, unless more jobs
-- of several projects are ahead.
--
-- The two settings make the planner follow the queue's indexes, which end at the limit. Before the table has statistics it
-- expects one row, and would read the whole queue with a bitmap or sort it: a third of create_job after 6,000 jobs.
create function tunebase_internal.queue_position(p_job tunebase.jobs) returns jsonb
language plpgsql stable set search_path = '' set enable_bitmapscan = off set enable_sort = off
as $$
declare
  v_ahead integer := 0;
  v_ahead_in_project integer := 0;
begin
  if p_job.status <> 'queued' then
    return null;
  elsif p_job.due_at = 'infinity' then
    return '{"position": 0, "position_in_project": 0}';
  end if;
  select count(*), count(*) filter (where project_id = p_job.project_id) into v_ahead, v_ahead_in_project from (
    select project_id from tunebase.jobs
    where status = 'queued' and due_at < 'infinity' and (due_at, id) < (p_job.due_at, p_job.id)
    order by due_at, id limit 100
  ) ahead;
  if v_ahead = 100 and v_ahead_in_project < 100 then
    select count(*) into v_ahead_in_project from (
      select from tunebase.jobs
      where project_id = p_job.project_id and status = 'queued' and due_at < 'infinity'
        and (due_at, id) < (p_job.due_at, p_job.id)
      order by due_at, id limit 100
    ) ahead;
  end if;
  return jsonb_build_object('position', 1 + v_ahead, 'position_in_project', 1 + v_ahead_in_project);
end $$;
