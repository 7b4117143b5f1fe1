-- The bytes of a project's datasets and adapters. An object that equal files share counts once.
create function tunebase_internal.stored_bytes(p_project_id uuid) returns bigint
language sql stable set search_path = ''
as $$
  select coalesce((
    select sum(o.bytes) from (
      select distinct on (s.object) s.bytes
      from tunebase.files f cross join lateral (values (f.object, f.bytes), (f.original_object, f.original_bytes)) s (object, bytes)
      where f.project_id = p_project_id and f.deleted_at is null and s.object is not null
    ) o
  ), 0)::bigint + coalesce((
    select sum(bytes) from tunebase.adapters where project_id = p_project_id and deleted_at is null
  ), 0)::bigint
$$;
