-- Leases the validation that is due, for p_lease_seconds. Returns null when none is due.
create function tunebase_internal.claim_file_validation(p_lease_seconds integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select file_id from tunebase_internal.file_validations where next_at <= now() order by next_at limit 1 for update skip locked
  ), taken as (
    update tunebase_internal.file_validations c
    set lease = gen_random_uuid(), next_at = now() + make_interval(secs => p_lease_seconds)
    from due where c.file_id = due.file_id
    returning c.*
  )
  select to_jsonb(t) || jsonb_build_object('object', f.object, 'bytes', f.bytes)
  from taken t join tunebase.files f on f.id = t.file_id
$$;
