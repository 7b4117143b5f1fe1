-- What a schema file cannot hold: the row of settings, buckets, policies on the platform's own tables, the timer.

-- Closed by default: nobody has a project until the operator names an owner, and every project has a spend cap.
insert into tunebase_internal.settings default values;

insert into storage.buckets (id, name, public)
values
  ('tunebase-datasets', 'tunebase-datasets', false),
  ('tunebase-adapters', 'tunebase-adapters', false),
  ('tunebase-tokenizers', 'tunebase-tokenizers', false);

-- Only the edge functions and signed URLs open these buckets. Restrictive, because a host app's own policy may say
-- `for all to authenticated using (true)`; for every role that does not bypass row-level security, because an app may have
-- roles of its own. Other buckets are as they were. On `buckets` too: nobody makes one of ours public.
create policy tunebase_buckets_are_closed on storage.objects as restrictive for all to public
using (bucket_id not in ('tunebase-datasets', 'tunebase-adapters', 'tunebase-tokenizers'))
with check (bucket_id not in ('tunebase-datasets', 'tunebase-adapters', 'tunebase-tokenizers'));
create policy tunebase_buckets_are_closed on storage.buckets as restrictive for all to public
using (id not in ('tunebase-datasets', 'tunebase-adapters', 'tunebase-tokenizers'))
with check (id not in ('tunebase-datasets', 'tunebase-adapters', 'tunebase-tokenizers'));

-- Members may join the Realtime topics of their projects' jobs, where the platform has Realtime.
do $$
begin
  if to_regclass('realtime.messages') is not null and to_regprocedure('realtime.topic()') is not null then
    execute $policy$
      create policy tunebase_members_listen on realtime.messages for select to authenticated
      using (exists (
        select from tunebase.jobs j
        where realtime.topic() = 'tunebase:job:ftjob-' || replace(j.id::text, '-', '')
          and j.project_id in (select tunebase_internal.member_project_ids())
      ))
    $policy$;
  end if;
exception when others then
  raise warning 'tunebase: members cannot join Realtime topics: %', sqlerrm;
end $$;

-- The timer, where the platform has pg_cron and pg_net.
do $$
begin
  if exists (select from pg_available_extensions where name = 'pg_cron')
    and exists (select from pg_available_extensions where name = 'pg_net') then
    create extension if not exists pg_net;
    create extension if not exists pg_cron;
    perform cron.schedule('tunebase-tick', '10 seconds', 'select tunebase_internal.wake_scheduler()');
    -- The spend caps hold even when no edge function can be reached.
    perform cron.schedule('tunebase-spend', '30 seconds', 'select tunebase_internal.enforce_spend()');
    -- pg_cron logs every run and never deletes the log.
    perform cron.schedule('tunebase-prune', '17 * * * *', 'select tunebase_internal.prune_cron_runs()');
  end if;
exception when others then
  -- pg_cron is not loaded, or too old for seconds. docs/deploy.md says what to do by hand.
  raise warning 'tunebase: the timer was not set up: %', sqlerrm;
end $$;
