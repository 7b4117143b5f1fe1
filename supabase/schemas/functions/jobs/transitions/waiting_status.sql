-- A waiting job's status: `validating_files` until its files are validated, then `queued`, or `paused` if it is started
-- manually.
create function tunebase_internal.waiting_status(p_unvalidated boolean, p_auto_start boolean) returns text
language sql immutable
return case when p_unvalidated then 'validating_files' when p_auto_start then 'queued' else 'paused' end;
