create function tunebase_internal.store_row_hashes(p_file_id uuid, p_rows jsonb) returns void
language sql set search_path = ''
as $$
  insert into tunebase_internal.file_row_hashes (file_id, threshold, hashes)
  values (
    p_file_id, (p_rows ->> 'threshold')::bigint,
    array(select hash::bigint from jsonb_array_elements_text(p_rows -> 'hashes') hash)
  )
  on conflict (file_id) do nothing
$$;
