-- All privileges. Must run last: what is not granted here is revoked.

-- Postgres lets everyone execute a new function, and the host app's default privileges can grant anything to any role. They
-- cannot be disabled for a schema (`alter default privileges in schema` only adds), so revoke what they granted.
do $$
declare
  v_statement text;
begin
  for v_statement in
    select format('revoke all on %s from %s', o.what, case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
    from (
      select format('schema %I', nspname) as what, nspacl as acl, nspowner as owner
      from pg_catalog.pg_namespace where nspname in ('tunebase', 'tunebase_internal')
      union all
      select format('%s %s', case relkind when 'S' then 'sequence' else 'table' end, c.oid::regclass), relacl, relowner
      from pg_catalog.pg_class c
      where relnamespace in ('tunebase'::regnamespace, 'tunebase_internal'::regnamespace) and relkind in ('r', 'p', 'v', 'm', 'S')
      union all
      select format('function %s', p.oid::regprocedure), coalesce(proacl, acldefault('f', proowner)), proowner
      from pg_catalog.pg_proc p where pronamespace in ('tunebase'::regnamespace, 'tunebase_internal'::regnamespace)
    ) o
    cross join lateral (select distinct grantee from aclexplode(o.acl)) a
    where a.grantee <> o.owner
  loop
    execute v_statement;
  end loop;
end $$;

grant usage on schema tunebase to authenticated;
grant usage on schema tunebase_internal to tunebase_api, tunebase_callback, tunebase_scheduler;
-- Row-level security depends on it.
grant execute on function tunebase_internal.member_project_ids() to authenticated;
grant select on all tables in schema tunebase to authenticated;

-- The functions that each edge function may execute; none of their roles may touch a table.
grant execute on function
  tunebase_internal.member_project_ids
to authenticated;

grant execute on function
  tunebase_internal.answer_invitation,
  tunebase_internal.archive_project,
  tunebase_internal.authorize,
  tunebase_internal.begin_upload_part,
  tunebase_internal.cancel_evaluation,
  tunebase_internal.cancel_job,
  tunebase_internal.cancel_upload,
  tunebase_internal.complete_direct_upload,
  tunebase_internal.complete_idempotency_key,
  tunebase_internal.complete_upload,
  tunebase_internal.complete_upload_part,
  tunebase_internal.create_api_key,
  tunebase_internal.create_evaluation,
  tunebase_internal.create_file,
  tunebase_internal.create_job,
  tunebase_internal.create_notification_channel,
  tunebase_internal.create_project,
  tunebase_internal.create_upload,
  tunebase_internal.create_unvalidated_file,
  tunebase_internal.create_webhook_endpoint,
  tunebase_internal.delete_evaluation,
  tunebase_internal.delete_completion,
  tunebase_internal.delete_file,
  tunebase_internal.delete_invitation,
  tunebase_internal.delete_model,
  tunebase_internal.delete_notification_channel,
  tunebase_internal.delete_webhook_endpoint,
  tunebase_internal.export_completions,
  tunebase_internal.find_model,
  tunebase_internal.find_servable_model,
  tunebase_internal.finish_inference,
  tunebase_internal.get_adapter,
  tunebase_internal.get_api_key,
  tunebase_internal.get_caller,
  tunebase_internal.get_checkpoint,
  tunebase_internal.get_completion,
  tunebase_internal.get_direct_upload,
  tunebase_internal.get_estimate_inputs,
  tunebase_internal.get_evaluation,
  tunebase_internal.get_evaluation_file,
  tunebase_internal.get_file,
  tunebase_internal.get_file_overlap,
  tunebase_internal.get_inference_usage,
  tunebase_internal.get_installation_metrics,
  tunebase_internal.get_job,
  tunebase_internal.get_job_metrics,
  tunebase_internal.get_project,
  tunebase_internal.get_result_content,
  tunebase_internal.get_status,
  tunebase_internal.get_usage_by_day,
  tunebase_internal.get_webhook_delivery,
  tunebase_internal.get_webhook_endpoint,
  tunebase_internal.invite_member,
  tunebase_internal.list_api_keys,
  tunebase_internal.list_checkpoints,
  tunebase_internal.list_evaluation_rows,
  tunebase_internal.list_evaluations,
  tunebase_internal.list_completions,
  tunebase_internal.list_events,
  tunebase_internal.list_files,
  tunebase_internal.list_invitations,
  tunebase_internal.list_jobs,
  tunebase_internal.list_members,
  tunebase_internal.list_models,
  tunebase_internal.list_new_events,
  tunebase_internal.list_notification_channels,
  tunebase_internal.list_notifications,
  tunebase_internal.list_projects,
  tunebase_internal.list_user_invitations,
  tunebase_internal.list_webhook_deliveries,
  tunebase_internal.list_webhook_endpoints,
  tunebase_internal.mark_notifications_read,
  tunebase_internal.open_event_stream,
  tunebase_internal.pause_job,
  tunebase_internal.remove_member,
  tunebase_internal.replay_webhook_delivery,
  tunebase_internal.replay_webhook_endpoint,
  tunebase_internal.reserve_file_object,
  tunebase_internal.reserve_idempotency_key,
  tunebase_internal.resume_job,
  tunebase_internal.revoke_api_key,
  tunebase_internal.rotate_webhook_secret,
  tunebase_internal.share_file,
  tunebase_internal.start_inference,
  tunebase_internal.start_job,
  tunebase_internal.store_token_sample,
  tunebase_internal.take_rate_limit_tokens,
  tunebase_internal.test_notification_channel,
  tunebase_internal.update_api_key,
  tunebase_internal.update_member,
  tunebase_internal.update_notification_channel,
  tunebase_internal.update_project,
  tunebase_internal.update_webhook_endpoint
to tunebase_api;

grant execute on function
  tunebase_internal.claim_attempt,
  tunebase_internal.finish_attempt,
  tunebase_internal.get_worker_directive,
  tunebase_internal.invalidate_verified_file,
  tunebase_internal.record_progress,
  tunebase_internal.record_verified_file,
  tunebase_internal.schedule_reconcile
to tunebase_callback;

grant execute on function
  tunebase_internal.checkpoint_file_validation,
  tunebase_internal.claim_attempts_to_reconcile,
  tunebase_internal.claim_deliveries,
  tunebase_internal.claim_dispatch,
  tunebase_internal.claim_evaluation_answer,
  tunebase_internal.claim_file_validation,
  tunebase_internal.claim_orphaned_objects,
  tunebase_internal.delete_orphaned_objects,
  tunebase_internal.end_evaluation,
  tunebase_internal.enforce_spend,
  tunebase_internal.expire_files,
  tunebase_internal.expire_inference_requests,
  tunebase_internal.fan_out_events,
  tunebase_internal.finish_file_validation,
  tunebase_internal.invalidate_verified_file,
  tunebase_internal.prune_idempotency_keys,
  tunebase_internal.prune_notifications,
  tunebase_internal.reconcile_attempt,
  tunebase_internal.record_cancel_sent,
  tunebase_internal.record_deliveries,
  tunebase_internal.record_dispatch_ambiguous,
  tunebase_internal.record_dispatch_failed,
  tunebase_internal.record_dispatch_rejected,
  tunebase_internal.record_dispatch_submitted,
  tunebase_internal.record_evaluation_answer,
  tunebase_internal.record_recovered_file,
  tunebase_internal.record_tick,
  tunebase_internal.release_dispatch,
  tunebase_internal.retry_file_validation,
  tunebase_internal.start_file_conversion
to tunebase_scheduler;
