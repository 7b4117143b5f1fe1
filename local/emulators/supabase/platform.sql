-- The parts of the hosted platform's database that are not in local/stack/supabase.sql or the schemas of Auth and Storage:
-- an owner who is not a superuser, the platform's own roles, Realtime's table, Vault. Run as the superuser supabase_admin.
--
-- Differs: hosted, an extension (supautils) lets `postgres` create policies on Storage's and Realtime's tables. Here,
-- `postgres` is a member of the roles that own them, so it could change these tables, too.
do $$
declare
  v_role text;
begin
  foreach v_role in array array['supabase_auth_admin', 'supabase_storage_admin', 'supabase_realtime_admin'] loop
    if not exists (select from pg_roles where rolname = v_role) then
      execute format('create role %I nologin noinherit', v_role);
    end if;
  end loop;
  if not exists (select from pg_roles where rolname = 'supabase_read_only_user') then
    create role supabase_read_only_user nologin bypassrls;
  end if;
  if not exists (select from pg_roles where rolname = 'postgres') then
    create role postgres nosuperuser createdb createrole login replication bypassrls;
  end if;
end $$;
grant pg_read_all_data to supabase_read_only_user;
grant anon, authenticated, service_role to postgres with admin option;
grant authenticator to postgres;
grant pg_monitor, pg_signal_backend to postgres;
alter database postgres owner to postgres;
alter schema extensions owner to postgres;

alter default privileges for role postgres in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on sequences to anon, authenticated, service_role;

alter table auth.users owner to supabase_auth_admin;
alter table auth.refresh_tokens owner to supabase_auth_admin;
alter table auth.one_time_tokens owner to supabase_auth_admin;
grant usage on schema auth to postgres, supabase_auth_admin;
grant all on all tables in schema auth to postgres;

alter table storage.buckets owner to supabase_storage_admin;
alter table storage.objects owner to supabase_storage_admin;
grant all on schema storage to postgres, supabase_storage_admin;
grant all on all tables in schema storage to postgres, anon, authenticated, service_role;
grant supabase_storage_admin to postgres;

create schema if not exists realtime;
create table if not exists realtime.messages (
  id uuid not null default gen_random_uuid() primary key,
  topic text not null,
  extension text not null,
  payload jsonb,
  event text,
  private boolean default false,
  inserted_at timestamp not null default now(),
  updated_at timestamp not null default now()
);
alter table realtime.messages owner to supabase_realtime_admin;
alter table realtime.messages enable row level security;
create or replace function realtime.topic() returns text language sql stable
as $$ select nullif(current_setting('realtime.topic', true), '')::text $$;
grant usage on schema realtime to postgres, anon, authenticated, service_role, supabase_realtime_admin;
grant select, insert, update on realtime.messages to postgres, anon, authenticated, service_role;
grant supabase_realtime_admin to postgres;

create schema if not exists vault;
create extension if not exists supabase_vault with schema vault;
