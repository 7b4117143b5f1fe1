-- The status that members may see: the service's health, and the project's queued work and problems. Nothing about other
-- projects, and no text from RunPod or Storage that is meant for the operator.
create function tunebase_internal.get_status(p_caller jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id constant uuid := tunebase_internal.authorize(p_caller, 'project:read');
  -- Older failures are no longer retried; record_deliveries starts a new series with the next one.
  v_recent constant timestamptz := now() - interval '2 days';
  v_oldest tunebase.jobs;
begin
  select * into v_oldest from tunebase.jobs
  where project_id = v_project_id and status = 'queued'
  order by queued_at limit 1;
  return (
    with receivers (kind, id, name, enabled, reason, since) as (
      select 'webhook_endpoint', e.id, e.name, e.enabled, e.disabled_reason, coalesce(e.disabled_at, f.failing_since)
      from tunebase.webhook_endpoints e left join tunebase_internal.failing_subscribers f on f.target_id = e.id and f.last_failed_at > v_recent
      where e.project_id = v_project_id and (f.target_id is not null or e.disabled_reason is not null)
      union all
      select 'notification_channel', c.id, format('%s: %s', c.kind, c.target), c.enabled, c.disabled_reason,
        coalesce(c.disabled_at, f.failing_since)
      from tunebase.notification_channels c left join tunebase_internal.failing_subscribers f on f.target_id = c.id and f.last_failed_at > v_recent
      where c.project_id = v_project_id and (f.target_id is not null or c.disabled_reason is not null)
    ), problems (kind, job_id, file_id, occurrences, last_at) as (
      select a.kind, t.job_id, null::uuid, a.occurrences, a.last_at
      from tunebase_internal.alerts a
      join tunebase.attempts t on t.id = case when a.kind = 'cancel_ignored_by_runpod' then a.subject::uuid end
      where t.project_id = v_project_id
      union all
      select a.kind, null, f.id, a.occurrences, a.last_at
      from tunebase_internal.alerts a
      join tunebase.files f on f.id = case when a.kind = 'file_check' then a.subject::uuid end
      where f.project_id = v_project_id and f.deleted_at is null
    )
    select jsonb_build_object(
      'last_tick_at', (select last_tick_at from tunebase_internal.scheduler_ticks),
      'queued', (select count(*) from tunebase.jobs where project_id = v_project_id and status = 'queued'),
      'running', (select count(*) from tunebase.attempts where project_id = v_project_id and state <> 'ended'),
      'max_running', p.max_running,
      'oldest_job_id', v_oldest.id,
      'oldest_queued_at', v_oldest.queued_at,
      'oldest_reason', case when v_oldest.id is not null then tunebase_internal.wait_reason(v_oldest) end,
      'files_validating', (
        select count(*) from tunebase_internal.file_validations v join tunebase.files f on f.id = v.file_id
        where f.project_id = v_project_id
      ),
      'receivers', (select coalesce(jsonb_agg(to_jsonb(r) order by r.since), '[]') from receivers r),
      'problems', (select coalesce(jsonb_agg(to_jsonb(x) order by x.last_at desc), '[]') from problems x)
    )
    from tunebase.projects p where p.id = v_project_id
  );
end $$;
