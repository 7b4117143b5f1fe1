-- Renders an event as a notification, {level, title, text}; null if its type has none.
create function tunebase_internal.render_notification(p_type text, p_data jsonb) returns jsonb
language sql stable set search_path = ''
as $$
  select case p_type
    when 'fine_tuning.job.succeeded' then jsonb_build_object(
      'level', 'info', 'title', format('Fine-tuning of %s succeeded', p_data ->> 'model'),
      'text', format('Job %s has finished. The new model is %s.', p_data ->> 'id', p_data ->> 'fine_tuned_model')
    )
    when 'fine_tuning.job.failed' then jsonb_build_object(
      'level', 'error', 'title', format('Fine-tuning of %s failed', p_data ->> 'model'),
      'text', concat_ws(E'\n',
        format('Job %s failed (%s): %s', p_data ->> 'id', p_data #>> '{error,code}', p_data #>> '{error,message}'),
        p_data #>> '{error,hint}'
      )
    )
    when 'fine_tuning.job.cancelled' then jsonb_build_object(
      'level', 'warn', 'title', format('Fine-tuning of %s was cancelled', p_data ->> 'model'),
      'text', format('Job %s was cancelled at %s%%.', p_data ->> 'id', round((p_data ->> 'progress')::numeric))
    )
    when 'fine_tuning.job.paused' then jsonb_build_object(
      'level', 'warn', 'title', format('Fine-tuning of %s is paused', p_data ->> 'model'),
      'text', format('Job %s is paused at %s%%. Resume it at any time.',
        p_data ->> 'id', round((p_data ->> 'progress')::numeric))
    )
    when 'fine_tuning.job.budget_warning' then jsonb_build_object(
      'level', 'warn', 'title', format('Fine-tuning of %s has used 80%% of its budget', p_data ->> 'model'),
      'text', format('Job %s has cost %s USD of its spend cap of %s USD. It will be stopped at the cap.',
        p_data ->> 'id', round((p_data ->> 'cost_usd')::numeric, 2), round((p_data ->> 'spend_cap_usd')::numeric, 2))
    )
    when 'webhook_endpoint.disabled' then jsonb_build_object(
      'level', 'error', 'title', format('%s was disabled', p_data ->> 'name'),
      'text', format('%s no longer receives events: %s. Fix the receiver, enable it again, and replay the missed events.',
        p_data ->> 'id', p_data ->> 'reason')
    )
  end
$$;
