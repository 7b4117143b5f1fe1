-- Wakes the scheduler from inside the database, where the platform has what it takes (pg_net, pg_cron, Vault). Elsewhere
-- this does nothing: the API's own call after a commit, and an outside timer, do it. Every nudge may be lost.

-- Calls the scheduler, if Vault holds its address and secret (tunebase_scheduler_url, tunebase_scheduler_secret). Never
-- fails: whatever it is called from must not.
create function tunebase.nudge() returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_url text;
  v_secret text;
begin
  if to_regclass('vault.decrypted_secrets') is null
    or to_regprocedure('net.http_post(text, jsonb, jsonb, jsonb, integer)') is null then
    return;
  end if;
  execute 'select max(decrypted_secret) filter (where name = ''tunebase_scheduler_url''),
    max(decrypted_secret) filter (where name = ''tunebase_scheduler_secret'') from vault.decrypted_secrets'
  into v_url, v_secret;
  if v_url is null or v_secret is null then
    return;
  end if;
  -- pg_net's own time-out of 2 s would cut off a tick that drains a queue.
  execute 'select net.http_post(url := $1, headers := $2, timeout_milliseconds := 60000)'
  using v_url, jsonb_build_object('content-type', 'application/json', 'authorization', 'Bearer ' || v_secret);
exception when others then
  raise warning 'tunebase.nudge: %', sqlerrm;
end $$;

-- A job that is due wakes the scheduler when its transaction commits: pg_net sends what it was given after the commit.
create function tunebase.nudge_when_queued() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- Once a transaction is enough.
  if coalesce(current_setting('tunebase.nudged', true), '') <> '1' then
    perform set_config('tunebase.nudged', '1', true);
    perform tunebase.nudge();
  end if;
  return null;
end $$;

create trigger nudge_when_queued after insert or update of status on public.jobs
for each row when (new.status = 'queued' and new.due_at <= now())
execute function tunebase.nudge_when_queued();

revoke execute on function tunebase.nudge(), tunebase.nudge_when_queued() from public;

do $$
begin
  if exists (select from pg_available_extensions where name = 'pg_cron')
    and exists (select from pg_available_extensions where name = 'pg_net') then
    create extension if not exists pg_net;
    create extension if not exists pg_cron;
    perform cron.schedule('tunebase-tick', '10 seconds', 'select tunebase.nudge()');
    -- A cap is a cap even when no function can be reached.
    perform cron.schedule('tunebase-spend', '30 seconds', 'select tunebase.enforce_spend()');
  end if;
exception when others then
  -- pg_cron is there and not loaded, or too old for seconds. docs/deploy.md says what to do by hand.
  raise warning 'the timer was not set up: %', sqlerrm;
end $$;
