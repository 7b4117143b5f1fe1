-- Refuses to install where something of the host app has a name of ours, before anything changes. Each migration file is
-- one transaction: what fails here leaves nothing behind.
do $$
declare
  v_found text;
begin
  if current_setting('server_version_num')::integer < 150000 then
    raise exception 'Tunebase needs PostgreSQL 15 or later; this is %.', current_setting('server_version');
  end if;
  select string_agg(nspname, ', ' order by nspname) into v_found
  from pg_catalog.pg_namespace where nspname in ('tunebase', 'tunebase_internal');
  if v_found is not null then
    raise exception 'Schema % already exists and was not created by these migrations.', v_found
      using hint = 'Rename it, or remove an earlier installation first: docs/deploy.md, "Remove it".';
  end if;
  if to_regclass('auth.users') is null or to_regclass('storage.buckets') is null then
    raise exception 'This is not a Supabase database: auth.users or storage.buckets is missing.';
  end if;
  -- A bucket that exists may be public, or have limits and policies that are not ours to trust.
  select string_agg(id, ', ' order by id) into v_found
  from storage.buckets where id in ('tunebase-datasets', 'tunebase-adapters', 'tunebase-tokenizers');
  if v_found is not null then
    raise exception 'Storage bucket % already exists.', v_found
      using hint = 'Rename it, or remove an earlier installation first: docs/deploy.md, "Remove it".';
  end if;
end $$;
