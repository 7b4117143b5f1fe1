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
  select string_agg(format('%I on %s.%s', policyname, schemaname, tablename), ', ' order by policyname) into v_found
  from pg_catalog.pg_policies where policyname in ('tunebase_buckets_are_closed', 'tunebase_members_listen');
  if v_found is not null then
    raise exception 'Policy % already exists.', v_found
      using hint = 'Rename it, or remove an earlier installation first: docs/deploy.md, "Remove it".';
  end if;
  -- cron.schedule() would replace a job of that name.
  if to_regclass('cron.job') is not null then
    execute 'select string_agg(jobname, '', '' order by jobname) from cron.job where jobname in ($1, $2, $3)'
    into v_found using 'tunebase-tick', 'tunebase-spend', 'tunebase-prune';
    if v_found is not null then
      raise exception 'Cron job % already exists.', v_found
        using hint = 'Rename it, or remove an earlier installation first: docs/deploy.md, "Remove it".';
    end if;
  end if;
end $$;
