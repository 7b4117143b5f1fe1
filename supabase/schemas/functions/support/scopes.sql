-- Every scope. API keys hold some of them; roles imply some (role_allows).
create function tunebase_internal.scopes() returns text[]
language sql immutable
return array[
  'files:read', 'files:write', 'jobs:read', 'jobs:write', 'models:read', 'inference', 'webhooks:read', 'webhooks:write',
  'project:read', 'project:admin'
];
