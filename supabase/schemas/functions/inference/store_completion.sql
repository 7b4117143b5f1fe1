-- Stores a finished request's conversation, if the project still stores completions. p_completion: {messages, tools, response, answer,
-- metadata}.
create function tunebase_internal.store_completion(p_request tunebase.inference_requests, p_completion jsonb) returns void
language sql set search_path = ''
as $$
  insert into tunebase.stored_completions (id, project_id, model, messages, tools, response, answer, metadata, expires_at)
  select p_request.id, p_request.project_id, p_request.model, p_completion -> 'messages',
    nullif(p_completion -> 'tools', 'null'), p_completion -> 'response', nullif(p_completion -> 'answer', 'null'),
    coalesce(nullif(p_completion -> 'metadata', 'null'), '{}'), now() + p.completion_retention_days * interval '1 day'
  from tunebase.projects p where p.id = p_request.project_id and p.store_completions
$$;
