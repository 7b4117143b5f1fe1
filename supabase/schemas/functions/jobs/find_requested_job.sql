-- The job that an equal earlier request created: one with the same key; without a key, one of the last ten minutes if this
-- request says that it is a retry. Null: it is a new request. Raises idempotency_key_reused.
create function tunebase_internal.find_requested_job(
  p_project_id uuid, p_request_hash text, p_idempotency_key text, p_is_retry boolean
) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_request tunebase_internal.job_requests;
begin
  -- Of two equal requests at once, the second waits here and then finds the row of the first.
  perform pg_advisory_xact_lock(hashtextextended(
    p_project_id::text || coalesce('key ' || p_idempotency_key, 'hash ' || p_request_hash), 0
  ));
  if p_idempotency_key is not null then
    select * into v_request from tunebase_internal.job_requests
    where project_id = p_project_id and idempotency_key = p_idempotency_key;
    if found and v_request.request_hash <> p_request_hash then
      perform tunebase_internal.raise_api_error('idempotency_key_reused', jsonb_build_object('key', p_idempotency_key));
    end if;
  elsif p_is_retry then
    select * into v_request from tunebase_internal.job_requests
    where project_id = p_project_id and request_hash = p_request_hash and created_at > now() - interval '10 minutes'
    order by created_at desc limit 1;
  else
    -- A first request that its own retry has overtaken, because a proxy delayed it: the job exists. Only once: the next
    -- equal request asks for another job.
    update tunebase_internal.job_requests set created_by_retry = false
    where created_by_retry and project_id = p_project_id and request_hash = p_request_hash
      and created_at > now() - interval '10 minutes'
    returning * into v_request;
  end if;
  return v_request.job_id;
end $$;
