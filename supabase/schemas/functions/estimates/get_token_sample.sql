-- A file with its stored token counts for this tokenizer (or by characters), if any. plpgsql, because it caches its plan.
create function tunebase_internal.get_token_sample(p_file_id uuid, p_tokenizer text) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return (
    select jsonb_build_object(
      'id', f.id, 'filename', f.filename, 'bytes', f.bytes, 'object', f.object, 'report', f.report, 'sample', s.sample
    )
    from tunebase.files f
    left join tunebase_internal.token_samples s
      on s.file_id = f.id and s.counter = coalesce(p_tokenizer, 'characters')
    where f.id = p_file_id
  );
end $$;
