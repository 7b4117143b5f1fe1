/** The frame around the pages: who is signed in, where one can go, what is the matter. */
import type { Session } from "@supabase/auth-js";
import { onlineManager, QueryClientProvider, useQuery } from "@tanstack/preact-query";
import type { FunctionComponent } from "preact";
import { useEffect, useState } from "preact/hooks";
import { unwrap } from "../../client/mod.ts";
import { useMe } from "./data.ts";
import { JobsPage } from "./pages/jobs.tsx";
import { SignIn } from "./pages/sign_in.tsx";
import { ProjectSwitch } from "./pages/project_switch.tsx";
import { go, href, parseRoute, type Route, useRoute } from "./router.ts";
import { queries, use } from "./services.ts";
import { Loading, Page, Problem } from "./ui/basics.tsx";

export type PageProps = { route: Route };
type Loader = () => Promise<FunctionComponent<PageProps>>;

/** By the first part of the path. All but the first page to be seen come when they are asked for. */
const pages: Record<string, { load: Loader; name?: string }> = {
  jobs: { name: "Jobs", load: () => Promise.resolve(JobsPage) },
  new: { load: async () => (await import("./pages/new_job.tsx")).NewJobPage },
  job: { load: async () => (await import("./pages/job.tsx")).JobPage },
  files: { name: "Files", load: async () => (await import("./pages/files.tsx")).FilesPage },
  models: { name: "Models", load: async () => (await import("./pages/models.tsx")).ModelsPage },
  usage: { name: "Usage", load: async () => (await import("./pages/usage.tsx")).UsagePage },
  keys: { name: "API keys", load: async () => (await import("./pages/keys.tsx")).KeysPage },
  webhooks: { name: "Webhooks", load: async () => (await import("./pages/webhooks.tsx")).WebhooksPage },
  project: { name: "Project", load: async () => (await import("./pages/project.tsx")).ProjectPage },
  notifications: { load: async () => (await import("./pages/notifications.tsx")).NotificationsPage },
};

/** Begins to load the page of the address, while the configuration and the session are read. */
export function loadAhead(): void {
  const [name = "jobs", id] = parseRoute(location.hash).path;
  // What goes wrong is told when the page is shown, which asks again.
  void pages[name === "jobs" && id !== undefined ? "job" : name]?.load().catch(() => {});
}

export function App({ first, problem }: { first: Session | null; problem: string | null }) {
  const [session, setSession] = useState(first);
  useEffect(() => {
    const { data } = use().auth.onAuthStateChange((event, session) => {
      if (event === "SIGNED_OUT") queries.clear();
      setSession(session);
    });
    return () => data.subscription.unsubscribe();
  }, []);
  return (
    <QueryClientProvider client={queries}>
      <Offline />
      {session === null ? <SignIn problem={problem} /> : <Frame key={session.user.id} session={session} />}
    </QueryClientProvider>
  );
}

function Frame({ session }: { session: Session }) {
  const route = useRoute();
  const { data: me } = useMe();
  const [name = "jobs", id] = route.path;
  // Without a project there is one page to see: how to get into one.
  const current = me?.project === null ? "project" : name === "jobs" && id !== undefined ? "job" : name;
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(event) => skip(event)}>To the page</a>
      <header class="bar">
        <a class="brand" href={href(["jobs"])}>Tunebase</a>
        <nav aria-label="Pages">
          {Object.entries(pages).map(([path, { name }]) =>
            name === undefined ? null : (
              <a
                key={path}
                href={href([path])}
                aria-current={path === current || (path === "jobs" && current === "job") ? "page" : undefined}
              >
                {name}
              </a>
            )
          )}
          <Bell current={current === "notifications"} />
        </nav>
        <div class="who">
          <ProjectSwitch />
          <span class="quiet small email">{session.user.email}</span>
          <button type="button" class="small" onClick={() => void use().auth.signOut({ scope: "local" })}>
            Sign out
          </button>
        </div>
      </header>
      <Invited />
      <Shown name={current} route={route} key={`${current} ${route.path.join("/")}`} />
    </div>
  );
}

/** `#main` as a fragment would be a route. */
function skip(event: Event) {
  event.preventDefault();
  document.querySelector<HTMLElement>("#main h1")?.focus();
}

function Shown({ name, route }: { name: string; route: Route }) {
  const page = pages[name];
  const [Component, setComponent] = useState<FunctionComponent<PageProps> | null>(
    () => name === "jobs" ? JobsPage : null,
  );
  const [error, setError] = useState<Error | null>(null);
  const [tries, setTries] = useState(0);
  useEffect(() => {
    if (page === undefined || Component !== null) return;
    let there = true;
    setError(null);
    page.load().then((found) => there && setComponent(() => found), (cause) => {
      // Offline, or the dashboard was put up anew and this part has another name now.
      if (there) setError(new Error(`This page could not be loaded; load the dashboard anew. (${cause})`));
    });
    return () => {
      there = false;
    };
  }, [page, tries]);
  if (page === undefined) {
    return (
      <Page title="Nothing here">
        <p>
          There is no page at this address. <a href={href(["jobs"])}>To the jobs</a>
        </p>
      </Page>
    );
  }
  if (error !== null) {
    return (
      <main id="main">
        <Problem error={error} retry={() => setTries(tries + 1)} />
      </main>
    );
  }
  return Component === null
    ? (
      <main id="main">
        <Loading />
      </main>
    )
    : <Component route={route} />;
}

function Bell({ current }: { current: boolean }) {
  const { data } = useQuery({
    queryKey: ["notifications", "unread"],
    queryFn: async () => unwrap(await use().api.GET("/notifications", { params: { query: { limit: 1 } } })),
    refetchInterval: 30_000,
  });
  const unread = data?.unread_count ?? 0;
  return (
    <a href={href(["notifications"])} aria-current={current ? "page" : undefined}>
      Notifications{unread > 0 && (
        <>
          {" "}
          <span class="badge">{unread > 99 ? "99+" : unread}</span>
          <span class="unseen">unread</span>
        </>
      )}
    </a>
  );
}

function Invited() {
  const { data } = useMe();
  const open = data?.invitations.length ?? 0;
  if (open === 0) return null;
  return (
    <p class="strip" role="status">
      You are invited to{" "}
      {open === 1 ? data?.invitations[0]?.project_name ?? "a project" : `${open} projects`}.{" "}
      <button type="button" class="small" onClick={() => go(["project"])}>Look at it</button>
    </p>
  );
}

function Offline() {
  const [online, setOnline] = useState(onlineManager.isOnline());
  useEffect(() => onlineManager.subscribe(setOnline), []);
  return online ? null : (
    <p class="strip warn" role="status">
      You are offline. What you see may be old; it goes on when you are back.
    </p>
  );
}
