-- A host app as Tunebase may meet it: its tables have our tables' names, its policies are generous, its settings are its
-- own. pg_cron and Vault are not in the embedded PostgreSQL: `cron` and `vault` here are emulators with the tables and the
-- functions that the migrations use, and pg_net is missing, so the migrations set up no timer by themselves.
create table public.projects (id bigint generated always as identity primary key, name text not null);
create table public.files (id bigint generated always as identity primary key, project_id bigint references public.projects, path text);
create table public.jobs (id bigint generated always as identity primary key, project_id bigint references public.projects, status text default 'queued');
create table public.events (id bigint generated always as identity primary key, job_id bigint references public.jobs, payload jsonb);
create table public.metrics (id bigint generated always as identity primary key, job_id bigint references public.jobs, value real);
create index jobs_project on public.jobs (project_id);
alter table public.projects enable row level security;
create policy members_read on public.projects for select to authenticated using (true);
insert into public.projects (name) values ('garden'), ('kitchen');
insert into public.files (project_id, path) values (1, 'a.txt');
insert into public.jobs (project_id) values (1), (2);
insert into public.events (job_id, payload) values (1, '{"a": 1}');
insert into public.metrics (job_id, value) values (1, 0.5);

create function public.api() returns text language sql as $$ select 'the app''s own' $$;
create function public.authorize() returns boolean language sql as $$ select true $$;
create function public.new_user() returns trigger language plpgsql security definer as $$ begin return new; end $$;
create trigger on_auth_user_created after insert on auth.users for each row execute function public.new_user();
insert into auth.users (email, email_confirmed_at) values ('ada@app.example', now()), ('bob@app.example', null);

create role app_worker login;
create role app_editor nologin;
grant app_editor to authenticator;
alter role app_worker set search_path = public, extensions;
alter role authenticated set statement_timeout = '8s';
grant select, insert on public.jobs to app_worker;
alter default privileges in schema public grant select on tables to app_worker;
-- Not in one schema: whatever is created in this database, the app's roles may read and call.
alter default privileges grant select, insert, truncate on tables to app_worker, authenticated;
alter default privileges grant usage on schemas to app_worker, anon;
alter default privileges grant execute on functions to app_worker, anon;

insert into storage.buckets (id, name, public) values ('datasets', 'datasets', true), ('avatars', 'avatars', false);
insert into storage.objects (bucket_id, name, metadata, version) values ('avatars', 'ada.png', '{"size": 3}', gen_random_uuid());
grant all on storage.objects, storage.buckets to anon, authenticated, app_editor;
grant usage on schema storage to app_editor;
create policy app_all on storage.objects for all to public using (true) with check (true);
create policy app_buckets on storage.buckets for all to public using (true) with check (true);

create schema cron;
create table cron.job (jobid bigint generated always as identity primary key, jobname text unique, schedule text, command text);
create function cron.schedule(job_name text, schedule text, command text) returns bigint language sql as $$
  insert into cron.job (jobname, schedule, command) values (job_name, schedule, command)
  on conflict (jobname) do update set schedule = excluded.schedule, command = excluded.command
  returning jobid
$$;
create function cron.unschedule(job_name text) returns boolean language sql as $$
  delete from cron.job where jobname = job_name returning true
$$;
select cron.schedule('nightly', '0 3 * * *', 'select 1'), cron.schedule('tick', '* * * * *', 'select 2');

create schema vault;
create table vault.secrets (id uuid primary key default gen_random_uuid(), name text unique, secret text);
create function vault.create_secret(new_secret text, new_name text) returns uuid language sql as $$
  insert into vault.secrets (name, secret) values (new_name, new_secret) returning id
$$;
select vault.create_secret('s', 'stripe_key');

create schema realtime;
create table realtime.messages (id bigint generated always as identity primary key, topic text, payload jsonb);
alter table realtime.messages enable row level security;
create function realtime.topic() returns text language sql stable as $$ select current_setting('realtime.topic', true) $$;
create policy app_listens on realtime.messages for select to authenticated using (realtime.topic() like 'room:%');
