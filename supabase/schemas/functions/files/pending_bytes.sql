-- The declared bytes of a project's pending uploads, and of rows that are being converted.
create function tunebase_internal.pending_bytes(p_project_id uuid) returns bigint
language sql stable set search_path = ''
as $$
  select coalesce(sum(greatest(
    u.bytes, (select coalesce(sum(p.bytes), 0) from tunebase_internal.upload_parts p where p.upload_id = u.id)
  )), 0)::bigint + (
    select coalesce(sum(v.converted_bytes), 0)::bigint
    from tunebase_internal.file_validations v join tunebase.files f on f.id = v.file_id
    where f.project_id = p_project_id and v.converted_bytes is not null
  )
  from tunebase_internal.uploads u
  where u.project_id = p_project_id and u.status = 'pending' and u.expires_at > now()
$$;
