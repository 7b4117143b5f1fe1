-- Removes Tunebase from a Supabase database: everything that supabase/migrations and docs/deploy.md have put there, and
-- nothing else. All projects, jobs and keys are lost. docs/deploy.md, "Uninstall", says what to do before and after.
-- One transaction: it removes everything or nothing.
begin;

do $$
declare
  v_found text;
begin
  -- Deleting the rows of storage.objects would leave the files in the object store, where nobody finds them again.
  select string_agg(format('%s (%s objects)', bucket_id, objects), ', ' order by bucket_id) into v_found
  from (
    select bucket_id, count(*) as objects from storage.objects
    where bucket_id in ('tunebase-datasets', 'tunebase-adapters', 'tunebase-tokenizers') group by bucket_id
  ) x;
  if v_found is not null then
    raise exception 'These buckets are not empty: %.', v_found
      using hint = 'Empty them first: in the dashboard (Storage, the bucket''s menu, "Empty bucket"), or through the '
        'Storage API (POST /storage/v1/bucket/<id>/empty).';
  end if;

  -- The timer.
  if to_regclass('cron.job') is not null then
    execute $cron$
      select cron.unschedule(jobname) from cron.job where jobname in ('tunebase-tick', 'tunebase-spend', 'tunebase-prune')
    $cron$;
  end if;
  if to_regclass('vault.secrets') is not null then
    execute $vault$
      delete from vault.secrets where name in ('tunebase_scheduler_url', 'tunebase_scheduler_secret', 'tunebase_master_key')
    $vault$;
  end if;

  -- Policies on the platform's tables, before the functions that they call.
  drop policy if exists tunebase_buckets_are_closed on storage.objects;
  drop policy if exists tunebase_buckets_are_closed on storage.buckets;
  if to_regclass('realtime.messages') is not null then
    execute 'drop policy if exists tunebase_members_listen on realtime.messages';
  end if;

  -- Storage refuses a direct delete without this setting; the buckets are empty.
  perform set_config('storage.allow_delete_query', 'true', true);
  delete from storage.buckets where id in ('tunebase-datasets', 'tunebase-adapters', 'tunebase-tokenizers');
  perform set_config('storage.allow_delete_query', 'false', true);
end $$;

drop schema if exists tunebase_internal, tunebase cascade;

do $$
declare
  v_role text;
begin
  foreach v_role in array array['tunebase_api', 'tunebase_callback', 'tunebase_scheduler'] loop
    begin
      execute format('drop role if exists %I', v_role);
    exception when dependent_objects_still_exist then
      -- Roles belong to the server: another of its databases has Tunebase too.
      raise warning 'Role % stays: something else depends on it.', v_role;
    end;
  end loop;
end $$;

-- The history of migrations, so that a later installation begins at the first.
do $$
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    delete from supabase_migrations.schema_migrations where version in (
      '20261130000000', '20261130000100', '20261130000200'
    );
  end if;
end $$;

commit;
