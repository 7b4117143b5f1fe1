-- A file with its token counts by this tokenizer (or by characters), as far as they are stored.
create function tunebase_internal.get_token_sample(p_file_id uuid, p_tokenizer text) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'id', f.id, 'filename', f.filename, 'bytes', f.bytes, 'object', f.object, 'report', f.report,
    'sample', (
      select sample from tunebase_internal.token_samples where file_id = f.id and counter = coalesce(p_tokenizer, 'characters')
    )
  )
  from tunebase.files f where f.id = p_file_id
$$;
