-- The bytes of a project's datasets and adapters. An object that equal files share counts once.
create function tunebase_internal.stored_bytes(p_project_id uuid) returns bigint
language sql stable set search_path = ''
as $$
  select coalesce((
    select sum(o.bytes) from (
      select distinct on (object) bytes from tunebase.files where project_id = p_project_id and deleted_at is null
    ) o
  ), 0)::bigint + coalesce((
    select sum(bytes) from tunebase.adapters where project_id = p_project_id and deleted_at is null
  ), 0)::bigint
$$;
