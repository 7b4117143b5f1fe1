-- RunPod's own text of an error, as an event shows it: one line of 500 characters, without the secrets that a traceback
-- can hold (signed URLs, an attempt's secret).
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
