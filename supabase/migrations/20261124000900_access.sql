-- Who may do what. The edge functions' roles may execute their own functions and touch no table; users may read
-- their projects' rows and write nothing; anon sees nothing. Row-level security holds without the API.

do $$
declare
  v_table text;
begin
  foreach v_table in array array[
    'projects', 'project_members', 'api_keys', 'base_models', 'files', 'jobs', 'attempts', 'events', 'metrics',
    'checkpoints', 'adapters'
  ] loop
    execute format('alter table public.%I enable row level security', v_table);
    -- The platform grants everything on public's tables to its roles.
    execute format('revoke all on public.%I from anon, authenticated', v_table);
    execute format('grant select on public.%I to authenticated', v_table);
  end loop;
  foreach v_table in array array[
    'project_members', 'api_keys', 'files', 'jobs', 'attempts', 'events', 'metrics', 'checkpoints', 'adapters'
  ] loop
    -- `(select …)` is evaluated once a statement, not once a row.
    execute format(
      'create policy members_read on public.%I for select to authenticated
       using (project_id in (select tunebase.my_projects()))', v_table
    );
  end loop;
end $$;

create policy members_read on public.projects for select to authenticated
using (id in (select tunebase.my_projects()));
create policy everybody_reads on public.base_models for select to authenticated using (offered);

alter table tunebase.api_key_hashes enable row level security;
alter table tunebase.verified_files enable row level security;
alter table tunebase.endpoints enable row level security;
alter table tunebase.garbage enable row level security;
alter table tunebase.alerts enable row level security;
alter table tunebase.job_requests enable row level security;

revoke all on all tables in schema tunebase from public;
revoke execute on all functions in schema tunebase from public;

grant execute on function
  tunebase.my_projects()
to authenticated;

grant execute on function
  tunebase.authorize(jsonb, text),
  tunebase.list_models(jsonb),
  tunebase.begin_file(jsonb, uuid),
  tunebase.get_file(jsonb, uuid),
  tunebase.list_files(jsonb, text, uuid, boolean, integer),
  tunebase.delete_file(jsonb, uuid),
  tunebase.create_job(jsonb, jsonb, text, text, boolean),
  tunebase.get_job(jsonb, uuid),
  tunebase.list_jobs(jsonb, uuid, integer, jsonb),
  tunebase.cancel_job(jsonb, uuid),
  tunebase.pause_job(jsonb, uuid),
  tunebase.resume_job(jsonb, uuid),
  tunebase.list_events(jsonb, uuid, uuid, integer),
  tunebase.get_adapter(jsonb, uuid)
to tunebase_api;

grant execute on function
  tunebase.claim_attempt(uuid, text, text, integer, text),
  tunebase.report(uuid, jsonb, integer),
  tunebase.attempt_order(uuid, text, integer),
  tunebase.record_verified(uuid, text, integer, jsonb),
  tunebase.forget_verified(uuid, integer, text),
  tunebase.finish(uuid, jsonb, text),
  tunebase.look_now(uuid, text)
to tunebase_callback;

grant execute on function
  tunebase.claim_dispatch(text, integer, integer),
  tunebase.dispatch_submitted(uuid, text),
  tunebase.dispatch_not_started(uuid, text, double precision, boolean),
  tunebase.dispatch_refused(uuid, text),
  tunebase.dispatch_unknown(uuid, text),
  tunebase.due_attempts(integer),
  tunebase.cancel_sent(uuid),
  tunebase.record_found(uuid, jsonb),
  tunebase.forget_verified(uuid, integer, text),
  tunebase.reconcile(uuid, jsonb, text, integer),
  tunebase.enforce_spend(),
  tunebase.due_garbage(integer),
  tunebase.garbage_removed(text, jsonb)
to tunebase_scheduler;
