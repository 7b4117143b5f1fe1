-- The object of an equal file that is not deleted, locked until this transaction ends; null if there is none.
create function tunebase_internal.find_equal_object(p_project_id uuid, p_purpose text, p_sha256 text, p_bytes bigint, p_but uuid)
returns text
language sql set search_path = ''
as $$
  select object from tunebase.files
  where project_id = p_project_id and sha256 = p_sha256 and purpose = p_purpose and bytes = p_bytes
    and status = 'processed' and deleted_at is null and id <> p_but
  order by id limit 1 for share
$$;
