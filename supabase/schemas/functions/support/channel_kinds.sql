-- The kinds of notification channels; a webhook endpoint is not one. contracts/channels.ts declares the same list.
create function tunebase_internal.channel_kinds() returns text[]
language sql immutable
return array['email', 'slack'];
