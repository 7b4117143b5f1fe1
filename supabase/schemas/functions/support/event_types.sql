-- Every event type. The first three are OpenAI's. plpgsql: the outbox's check evaluates it for each event, and a language
-- sql function is planned every time.
create function tunebase_internal.event_types() returns text[]
language plpgsql immutable set search_path = ''
as $$
begin
  return array[
    'fine_tuning.job.succeeded', 'fine_tuning.job.failed', 'fine_tuning.job.cancelled',
    'fine_tuning.job.created', 'fine_tuning.job.started', 'fine_tuning.job.progress', 'fine_tuning.job.checkpoint',
    'fine_tuning.job.paused', 'fine_tuning.job.budget_warning', 'webhook_endpoint.disabled'
  ];
end $$;
