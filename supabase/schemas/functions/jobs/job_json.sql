-- A job as the API shows it: its row, why it waits, and its position in the queue (1: next; 0: already sent to the GPU
-- service). Counting stops at 1,000, so that a long queue stays cheap.
create function tunebase_internal.job_json(p_job_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(j) - 'plan' || jsonb_build_object(
    'status_reason', tunebase_internal.wait_reason(j),
    'queue', case
      when j.status <> 'queued' then null
      when j.due_at = 'infinity' then jsonb_build_object('position', 0, 'position_in_project', 0)
      else jsonb_build_object(
        'position', 1 + (
          select count(*) from (
            select from tunebase.jobs a
            where a.status = 'queued' and a.due_at < 'infinity' and (a.due_at, a.id) < (j.due_at, j.id)
            limit 1000
          ) ahead
        ),
        'position_in_project', 1 + (
          select count(*) from (
            select from tunebase.jobs a
            where a.project_id = j.project_id and a.status = 'queued' and a.due_at < 'infinity'
              and (a.due_at, a.id) < (j.due_at, j.id)
            limit 1000
          ) ahead
        )
      )
    end
  )
  from tunebase.jobs j where j.id = p_job_id
$$;
