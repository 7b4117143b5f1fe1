-- The two schemas and the three roles.
--
-- `tunebase` holds what project members may read, under row-level security; the operator may expose it to the Data API.
-- `tunebase_internal` is never exposed: functions, hashes, tokens, the outbox. The edge functions log in as three roles
-- that may execute their own functions and touch no table; the operator gives them passwords
-- (`alter role tunebase_api login password …`).
create schema tunebase;
create schema tunebase_internal;

do $$
declare
  v_role text;
begin
  -- Roles belong to the server, not to the database: another installation there may have created them.
  foreach v_role in array array['tunebase_api', 'tunebase_callback', 'tunebase_scheduler'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
      execute format('create role %I nologin noinherit', v_role);
    end if;
  end loop;
end $$;
