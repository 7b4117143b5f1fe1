-- A job for the API: its row, why it waits, its position in the queue (1: next; 0: already sent to the GPU service), and how
-- long workers have run it; its timestamps include queues and pauses. Counting stops at 100, so that a long queue stays
-- cheap. plpgsql, because it caches its plans.
create function tunebase_internal.job_json(p_job_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_job tunebase.jobs;
begin
  select * into v_job from tunebase.jobs where id = p_job_id;
  return to_jsonb(v_job) - 'plan' || jsonb_build_object(
    'status_reason', tunebase_internal.wait_reason(v_job), 'queue', tunebase_internal.queue_position(v_job),
    'running_seconds', (
      select coalesce(round(extract(epoch from sum(coalesce(ended_at, last_report_at, started_at) - started_at))), 0)::int
      from tunebase.attempts
      where job_id = p_job_id and started_at is not null
    )
  );
end $$;
