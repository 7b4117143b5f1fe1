create function tunebase_internal.is_terminal(p_status text) returns boolean
language sql immutable
return p_status in ('succeeded', 'failed', 'cancelled');
