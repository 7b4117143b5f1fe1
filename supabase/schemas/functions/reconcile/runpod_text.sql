-- RunPod's error text for an event: one line of at most 500 characters, without secrets that a traceback can contain (signed
-- URLs, the attempt's secret).
create function tunebase_internal.runpod_text(p_error text) returns text
language sql immutable set search_path = ''
as $$
  select nullif(left(btrim(regexp_replace(
    regexp_replace(
      regexp_replace(p_error, '(https?://[^\s?"'']+)\?[^\s"'']*', '\1?…', 'g'),
      'whsec_[^\s"'',}]+', 'whsec_…', 'g'
    ),
    '[[:cntrl:]\s]+', ' ', 'g'
  )), 500), '')
$$;
