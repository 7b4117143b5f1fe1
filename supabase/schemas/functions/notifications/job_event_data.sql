-- The `data` of a job's event: OpenAI's `{id}`, and what saves receivers another request. plpgsql, because it caches its
-- plan; a language sql function is planned at every call.
create function tunebase_internal.job_event_data(j tunebase.jobs) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return jsonb_build_object(
    'id', 'ftjob-' || replace(j.id::text, '-', ''),
    'status', j.status,
    'model', j.base_model,
    'fine_tuned_model', j.fine_tuned_model,
    'progress', j.progress,
    'step', j.current_step,
    'total_steps', j.total_steps,
    'trained_tokens', j.trained_tokens,
    'cost_usd', j.cost_usd,
    'spend_cap_usd', j.spend_cap_usd,
    'metadata', j.metadata,
    'error', case when j.error_code is not null then jsonb_build_object(
      'code', j.error_code, 'message', j.error_message, 'hint', j.error_hint, 'param', j.error_param
    ) end
  );
end $$;
