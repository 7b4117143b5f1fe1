/** What the pages stand on: the session, the API's client, the cache of answers. Begun once, by main.tsx. */
import { AuthClient } from "@supabase/auth-js";
import { QueryClient } from "@tanstack/preact-query";
import { type Api, connect, RefusedError } from "../../client/mod.ts";
import type { Config } from "./config.ts";

export interface Services {
  config: Config;
  auth: InstanceType<typeof AuthClient>;
  api: Api;
}

let services: Services | null = null;

/** Makes them. The session is kept in localStorage, and a magic link's tokens are taken from the address. */
export function begin(config: Config): Services {
  const auth = new AuthClient({
    url: `${config.supabaseUrl}/auth/v1`,
    headers: { apikey: config.publishableKey },
    storageKey: "tunebase-session",
    autoRefreshToken: true,
    persistSession: true,
    detectSessionInUrl: true,
    // A link that is opened on another device than it was asked for on signs in there.
    flowType: "implicit",
  });
  services = {
    config,
    auth,
    api: connect({ baseUrl: config.apiUrl, token: accessToken, project: projectId }),
  };
  return services;
}

/** They must have been begun. */
export function use(): Services {
  if (services === null) throw new Error("The services have not begun.");
  return services;
}

/** A token that is valid now: the session renews it when it has run out. */
export async function accessToken(): Promise<string | null> {
  const { data } = await use().auth.getSession();
  return data.session?.access_token ?? null;
}

const projectKey = "tunebase-project";
/** The project that was chosen; null: the user's first. */
export const projectId = (): string | null => localStorage.getItem(projectKey);

/** Works in another project from here on: what was read of the one before is forgotten. */
export function chooseProject(id: string | null): void {
  if (id === null) localStorage.removeItem(projectKey);
  else localStorage.setItem(projectKey, id);
  queries.clear();
}

/** The headers of a call that the typed client cannot make: an upload with its progress, a stream. */
export async function headers(): Promise<Record<string, string>> {
  const [token, project] = [await accessToken(), projectId()];
  return {
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    ...(project === null ? {} : { "openai-project": project }),
  };
}

/** What was refused stays refused; what broke on the way is tried again. */
const worthRetrying = (count: number, error: Error) =>
  count < 2 && !(error instanceof RefusedError && error.status < 500 && error.status !== 429);

export const queries = new QueryClient({
  defaultOptions: { queries: { retry: worthRetrying, staleTime: 2_000 }, mutations: { retry: false } },
});

/** A session that the server no longer takes is ended; a project that is no longer ours is left. */
queries.getQueryCache().subscribe(({ query }) => {
  const { error } = query.state;
  if (!(error instanceof RefusedError)) return;
  if (error.status === 401) void use().auth.signOut({ scope: "local" });
  if (error.code === "project_not_found" && projectId() !== null && query.queryKey[0] === "me") {
    chooseProject(null);
    location.reload();
  }
});
