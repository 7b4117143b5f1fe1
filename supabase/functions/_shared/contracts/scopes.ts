/** The scopes of API keys, with the dashboard's labels; `tunebase_internal.scopes()` has the same list. */
export const scopeLabels = {
  "files:read": "read files",
  "files:write": "upload and delete files",
  "jobs:read": "read jobs",
  "jobs:write": "create and manage jobs",
  "models:read": "read models",
  "inference": "call models",
  "webhooks:read": "read webhooks",
  "webhooks:write": "manage webhooks and notification channels",
  "project:read": "read the project",
  "project:admin": "manage the project, its members and its API keys",
} as const;
export type Scope = keyof typeof scopeLabels;

const isScope = (name: string): name is Scope => name in scopeLabels;
/** All scopes. */
export const scopes: Scope[] = Object.keys(scopeLabels).filter(isScope);
/** The default scopes of a new key: everything except the project's own. */
export const defaultScopes: Scope[] = scopes.filter((scope) => !scope.startsWith("project:"));
