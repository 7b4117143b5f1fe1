/** The app's services: session, API client, query cache. main.tsx initializes them once. */
import { AuthClient } from "@supabase/auth-js";
import { QueryClient } from "@tanstack/preact-query";
import { type Api, ApiError, connect } from "../../../client/mod.ts";
import type { Config } from "./config.ts";

export interface Services {
  config: Config;
  auth: InstanceType<typeof AuthClient>;
  api: Api;
}

let services: Services | null = null;

/** The session is stored in localStorage; a magic link's tokens are read from the URL. */
export function initServices(config: Config): Services {
  const auth = new AuthClient({
    url: `${config.supabaseUrl}/auth/v1`,
    headers: { apikey: config.publishableKey },
    storageKey: "tunebase-session",
    autoRefreshToken: true,
    persistSession: true,
    detectSessionInUrl: true,
    // PKCE would only accept a magic link on the device that requested it.
    flowType: "implicit",
  });
  services = {
    config,
    auth,
    api: connect({
      baseUrl: config.apiUrl,
      token: getAccessToken,
      project: getProjectId,
    }),
  };
  return services;
}

export function getServices(): Services {
  if (services === null) throw new Error("initServices() has not been called.");
  return services;
}

/** A valid access token; refreshes an expired one. */
export async function getAccessToken(): Promise<string | null> {
  const { data } = await getServices().auth.getSession();
  return data.session?.access_token ?? null;
}

let isLeaving = false;
/** Ends the session on this device, as the user asked. */
export async function signOut(): Promise<void> {
  isLeaving = true;
  await getServices().auth.signOut({ scope: "local" });
}

/** Whether the session that ended was ended by `signOut`. Each call consumes the answer. */
export function hasLeft(): boolean {
  const left = isLeaving;
  isLeaving = false;
  return left;
}

const projectKey = "tunebase-project";
/** The selected project; null means the user's first one. */
export const getProjectId = (): string | null => localStorage.getItem(projectKey);

/** Switches to another project and clears the cached data of the previous one. */
export function selectProject(id: string | null): void {
  if (id === null) localStorage.removeItem(projectKey);
  else localStorage.setItem(projectKey, id);
  queryClient.clear();
}

/** Headers for requests that the typed client cannot make: uploads with progress, and streams. */
export async function authHeaders(): Promise<Record<string, string>> {
  const [token, project] = [await getAccessToken(), getProjectId()];
  return {
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    ...(project === null ? {} : { "openai-project": project }),
  };
}

/** Retries network and server errors, not requests that the API rejects. */
const shouldRetry = (count: number, error: Error) =>
  count < 2 &&
  !(error instanceof ApiError && error.status < 500 && error.status !== 429);

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: { retry: shouldRetry, staleTime: 2_000 },
    mutations: { retry: false },
  },
});

/** Signs out of a session that the server rejects, and leaves a project that the user is no longer a member of. */
queryClient.getQueryCache().subscribe(({ query }) => {
  const { error } = query.state;
  if (!(error instanceof ApiError)) return;
  if (error.status === 401) void getServices().auth.signOut({ scope: "local" });
  if (
    error.code === "project_not_found" && getProjectId() !== null &&
    query.queryKey[0] === "me"
  ) {
    selectProject(null);
    location.reload();
  }
});
