-- Where a job waits for a GPU: `validating_files` while a file of it is not validated, `paused` when it starts by hand.
create function tunebase_internal.waiting_status(p_unvalidated boolean, p_auto_start boolean) returns text
language sql immutable
return case when p_unvalidated then 'validating_files' when p_auto_start then 'queued' else 'paused' end;
