create function tunebase_internal.waiting_message(p_status text) returns text
language sql immutable
return case p_status
  when 'queued' then 'Files are valid; the job is queued for a GPU.'
  when 'paused' then 'Files are valid; the job is waiting to be started.'
  else 'The job is waiting until its files are validated.'
end;
