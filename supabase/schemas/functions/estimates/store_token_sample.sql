-- Stores token counts of a file. The first result wins: they are all equal.
create function tunebase_internal.store_token_sample(p_file_id uuid, p_counter text, p_sample jsonb) returns void
language sql security definer set search_path = ''
as $$
  insert into tunebase_internal.token_samples (file_id, counter, sample) values (p_file_id, p_counter, p_sample)
  on conflict do nothing
$$;
