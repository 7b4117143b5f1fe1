-- Calls the scheduler when this transaction commits (pg_net sends after the commit), if Vault holds its URL and secret
-- (tunebase_scheduler_url, tunebase_scheduler_secret). Never fails, so that its caller cannot fail because of it.
create function tunebase_internal.wake_scheduler() returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_url text;
  v_secret text;
begin
  -- Plain Postgres has neither, and must not pay for the block below: it costs a subtransaction.
  if to_regnamespace('vault') is null or to_regnamespace('net') is null then
    return;
  end if;
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
    -- pg_net's default timeout of 2 s would cut off a tick that drains a queue.
    execute 'select net.http_post(url := $1, headers := $2, timeout_milliseconds := 60000)'
    using v_url, jsonb_build_object('content-type', 'application/json', 'authorization', 'Bearer ' || v_secret);
  exception when others then
    raise warning 'tunebase_internal.wake_scheduler: %', sqlerrm;
  end;
end $$;
