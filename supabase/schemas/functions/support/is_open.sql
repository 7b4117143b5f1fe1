-- An unfinished job: it counts against the project's quotas and may still cost money.
create function tunebase_internal.is_open(p_status text) returns boolean
language sql immutable
return p_status in ('validating_files', 'queued', 'running', 'paused');
