-- Claims Storage objects to delete. An object that is not deleted within ten minutes is claimed again.
create function tunebase_internal.claim_orphaned_objects(p_limit integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select bucket, object from tunebase_internal.orphaned_objects where next_at <= now()
    order by next_at limit p_limit
    for no key update skip locked
  ), taken as (
    update tunebase_internal.orphaned_objects g set next_at = now() + interval '10 minutes'
    from due where g.bucket = due.bucket and g.object = due.object
    returning g.bucket, g.object
  )
  select coalesce(jsonb_agg(jsonb_build_object('bucket', bucket, 'object', object)), '[]') from taken
$$;
