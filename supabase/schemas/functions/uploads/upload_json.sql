-- An upload with its file.
create function tunebase_internal.upload_json(p_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(u) || jsonb_build_object('file', (select to_jsonb(f) from tunebase.files f where f.id = u.file_id))
  from tunebase_internal.uploads u where u.id = p_id
$$;
