-- The values of GET /metrics over all projects: {metric: [{label: value, …, "value": number}, …]}. The metrics are declared
-- in _shared/contracts/installation_metrics.ts.
--
-- Counters count from midnight UTC, so that their cost does not grow with the installation's age; Prometheus handles the
-- reset. Only the month's spending reads further back, from an index alone. No label may hold a project, a fine-tuned model
-- or a user: their number is not bounded.
create function tunebase_internal.get_installation_metrics() returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_day constant timestamptz := date_trunc('day', now() at time zone 'utc') at time zone 'utc';
  v_month constant timestamptz := date_trunc('month', now() at time zone 'utc') at time zone 'utc';
  -- A request takes at most 330 s, and is looked up by its start.
  v_recent constant uuid := tunebase_internal.uuid7_lower_bound(now() - interval '10 minutes');
begin
  return (
    with open_jobs as materialized (
      select base_model, status, count(*) as jobs, min(queued_at) filter (where status = 'queued') as oldest
      from tunebase.jobs where tunebase_internal.is_open(status) group by 1, 2
    ), models as (
      select id as base_model from tunebase.base_models where enabled
      union
      select base_model from open_jobs
    ), finished_jobs as materialized (
      select status, error_code, count(*) as jobs, sum(trained_tokens) as tokens
      from tunebase.jobs where finished_at >= v_day group by 1, 2
    ), live_attempts as materialized (
      select * from tunebase.attempts where state <> 'ended'
    ), ended_attempts as materialized (
      select outcome, started_at, ended_at, gpu_config from tunebase.attempts where ended_at >= v_day
    ), gpu_use as (
      select gpu_config, ended_at, started_at from ended_attempts where started_at is not null
      union all
      select gpu_config, now(), started_at from live_attempts where started_at is not null
    ), recent_requests as materialized (
      select seconds, first_token_ms from tunebase.inference_requests where id >= v_recent and status = 'succeeded'
    ), used as (
      select sum(requests) as requests, sum(prompt_tokens) as prompt, sum(completion_tokens) as completion,
        sum(seconds) as seconds
      from tunebase.inference_usage where quarter_hour >= v_day
    ), pending as (
      select count(*) as deliveries, min(next_at) as due from tunebase.webhook_deliveries where status = 'pending'
    ), lines (metric, sample) as (
      -- A line for each model; the API adds zeros for the other statuses.
      select 'tunebase_jobs', jsonb_build_object('status', 'queued', 'base_model', m.base_model, 'value', coalesce(o.jobs, 0))
      from models m
      left join open_jobs o on o.base_model = m.base_model and o.status = 'queued'
      union all
      select 'tunebase_jobs', jsonb_build_object('status', status, 'base_model', base_model, 'value', jobs)
      from open_jobs where status <> 'queued'
      union all
      select 'tunebase_queue_oldest_wait_seconds', jsonb_build_object('base_model', m.base_model, 'value',
        round(extract(epoch from coalesce(now() - o.oldest, interval '0')), 3))
      from models m
      left join open_jobs o on o.base_model = m.base_model and o.status = 'queued'
      union all
      select 'tunebase_jobs_finished_total', jsonb_build_object('status', status, 'value', sum(jobs))
      from finished_jobs group by status
      union all
      select 'tunebase_jobs_failed_total', jsonb_build_object('code', error_code, 'value', jobs)
      from finished_jobs where status = 'failed'
      union all
      select 'tunebase_trained_tokens_total', jsonb_build_object('value', coalesce(sum(tokens), 0)) from finished_jobs
      union all
      select 'tunebase_attempts', jsonb_build_object('state', state, 'endpoint', endpoint_id, 'value', count(*))
      from live_attempts group by state, endpoint_id
      union all
      select 'tunebase_attempts_ended_total', jsonb_build_object('outcome', outcome, 'value', count(*))
      from ended_attempts group by outcome
      union all
      select 'tunebase_heartbeat_age_seconds', jsonb_build_object('value',
        round(extract(epoch from coalesce(max(now() - coalesce(last_report_at, started_at)), interval '0')), 3))
      from live_attempts where state = 'running'
      union all
      select 'tunebase_gpu_seconds_total', jsonb_build_object('gpu_type', gpu_config ->> 'gpu_type', 'value',
        round(sum(extract(epoch from ended_at - greatest(started_at, v_day)) * (gpu_config ->> 'num_gpus')::numeric), 3))
      from gpu_use group by gpu_config ->> 'gpu_type'
      union all
      select 'tunebase_month_spend_usd', jsonb_build_object('kind', 'training', 'value', coalesce((
          select sum(cost_usd) from tunebase.attempts where ended_at >= v_month and started_at >= v_month
        ), 0) + coalesce((
          select sum(cost_usd) from live_attempts where started_at >= v_month
        ), 0))
      union all
      select 'tunebase_month_spend_usd', jsonb_build_object('kind', 'inference', 'value', coalesce(sum(cost_usd), 0))
      from tunebase_internal.inference_spend where month = (v_month at time zone 'utc')::date
      union all
      select 'tunebase_inference_requests_total', jsonb_build_object('value', coalesce(requests, 0)) from used
      union all
      select 'tunebase_inference_tokens_total', jsonb_build_object('kind', 'prompt', 'value', coalesce(prompt, 0)) from used
      union all
      select 'tunebase_inference_tokens_total',
        jsonb_build_object('kind', 'completion', 'value', coalesce(completion, 0))
      from used
      union all
      select 'tunebase_inference_seconds_total', jsonb_build_object('value', coalesce(seconds, 0)) from used
      union all
      select 'tunebase_inference_failures_total', jsonb_build_object('code', coalesce(error_code, status), 'value', count(*))
      from tunebase.inference_requests
      where id >= tunebase_internal.uuid7_lower_bound(v_day) and status in ('failed', 'abandoned')
      group by coalesce(error_code, status)
      union all
      select 'tunebase_inference_duration_seconds', jsonb_build_object('quantile', q.quantile::text, 'value', round((
          select percentile_cont(q.quantile) within group (order by seconds) from recent_requests
        )::numeric, 3))
      from unnest(array[0.5, 0.95, 0.99]) q (quantile)
      where exists (select from recent_requests)
      union all
      select 'tunebase_inference_first_token_seconds', jsonb_build_object('quantile', q.quantile::text, 'value', round((
          select percentile_cont(q.quantile) within group (order by first_token_ms) from recent_requests
        )::numeric / 1000, 3))
      from unnest(array[0.5, 0.95, 0.99]) q (quantile)
      where exists (select from recent_requests where first_token_ms is not null)
      union all
      select 'tunebase_inference_open_requests', jsonb_build_object('value', count(*))
      from tunebase.inference_requests where status = 'open'
      union all
      select 'tunebase_outbox_events', jsonb_build_object('value', count(*))
      from tunebase_internal.outbox where fanned_out_at is null
      union all
      select 'tunebase_deliveries_pending', jsonb_build_object('value', deliveries) from pending
      union all
      select 'tunebase_delivery_delay_seconds', jsonb_build_object('value',
        round(extract(epoch from greatest(now() - due, interval '0')), 3))
      from pending
      union all
      select 'tunebase_deliveries_dead', jsonb_build_object('value', count(*))
      from tunebase.webhook_deliveries where status = 'dead'
      union all
      select 'tunebase_receivers_failing', jsonb_build_object('value', count(*)) from tunebase_internal.failing_subscribers
      union all
      select 'tunebase_file_validations', jsonb_build_object('value', count(*)) from tunebase_internal.file_validations
      union all
      select 'tunebase_evaluations_running', jsonb_build_object('value', count(distinct evaluation_id))
      from tunebase_internal.evaluation_queue
      union all
      select 'tunebase_evaluation_answers_pending', jsonb_build_object('value', count(*))
      from tunebase_internal.evaluation_queue
      union all
      select 'tunebase_alerts', jsonb_build_object('kind', kind, 'value', count(*))
      from tunebase_internal.alerts group by kind
      union all
      select 'tunebase_trigger_failures', jsonb_build_object('value', count(*))
      from tunebase_internal.trigger_failures where type is not null and repaired_at is null
      union all
      select 'tunebase_orphaned_objects', jsonb_build_object('value', count(*)) from tunebase_internal.orphaned_objects
      union all
      select 'tunebase_scheduler_ticks_total', jsonb_build_object('value', ticks) from tunebase_internal.scheduler_ticks
      union all
      select 'tunebase_scheduler_tick_seconds_total', jsonb_build_object('value', seconds)
      from tunebase_internal.scheduler_ticks
      union all
      select 'tunebase_scheduler_last_tick_timestamp_seconds', jsonb_build_object('value', extract(epoch from last_tick_at))
      from tunebase_internal.scheduler_ticks
    )
    select jsonb_object_agg(metric, samples)
    from (select metric, jsonb_agg(sample order by sample) as samples from lines group by metric) x
  );
end $$;
