-- The object of an equal original of a converted file that is not deleted, locked until this transaction ends; null if there
-- is none.
create function tunebase_internal.find_equal_original(p_project_id uuid, p_sha256 text, p_bytes bigint) returns text
language sql set search_path = ''
as $$
  select original_object from tunebase.files
  where project_id = p_project_id and original_sha256 = p_sha256 and original_bytes = p_bytes
    and status = 'processed' and deleted_at is null
  order by id limit 1 for share
$$;
