create function tunebase_internal.queue_position(p_job tunebase.jobs) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  if p_job.status <> 'queued' then
    return null;
  elsif p_job.due_at = 'infinity' then
    return '{"position": 0, "position_in_project": 0}';
  end if;
  return jsonb_build_object(
    'position', 1 + (
      select count(*) from (
        select from tunebase.jobs a
        where a.status = 'queued' and a.due_at < 'infinity' and (a.due_at, a.id) < (p_job.due_at, p_job.id)
        limit 1000
      ) ahead
    ),
    'position_in_project', 1 + (
      select count(*) from (
        select from tunebase.jobs a
        where a.project_id = p_job.project_id and a.status = 'queued' and a.due_at < 'infinity'
          and (a.due_at, a.id) < (p_job.due_at, p_job.id)
        limit 1000
      ) ahead
    )
  );
end $$;
