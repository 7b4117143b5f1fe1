/** What an API key may do, and how the dashboard says it; `tunebase_internal.scopes()` lists the same. */
export const scopeLabels = {
  "files:read": "read files",
  "files:write": "upload and delete files",
  "jobs:read": "read jobs",
  "jobs:write": "create and manage jobs",
  "models:read": "read models",
  "webhooks:read": "read webhooks",
  "webhooks:write": "manage webhooks and notification channels",
  "project:read": "read the project",
  "project:admin": "manage the project, its members and its API keys",
} as const;
export type Scope = keyof typeof scopeLabels;

const isScope = (name: string): name is Scope => name in scopeLabels;
/** Every scope there is. */
export const scopes: Scope[] = Object.keys(scopeLabels).filter(isScope);
/** What a new key gets unless its maker says otherwise: everything but managing the project. */
export const defaultScopes: Scope[] = scopes.filter((scope) => !scope.startsWith("project:"));
