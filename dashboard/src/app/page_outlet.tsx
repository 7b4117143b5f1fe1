/** Loads and shows the current page. */
import { useEffect, useState } from "preact/hooks";
import { JobsPage } from "../features/jobs/jobs_page.tsx";
import { href, type Route } from "../lib/router.ts";
import { ErrorMessage, Loading } from "../ui/feedback.tsx";
import { Page } from "../ui/page.tsx";
import { type PageComponent, pages } from "./pages.ts";

export function PageOutlet({ name, route }: { name: string; route: Route }) {
  const page = pages[name];
  const [Component, setComponent] = useState<PageComponent | null>(() => name === "jobs" ? JobsPage : null);
  const [error, setError] = useState<Error | null>(null);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    if (page === undefined || Component !== null) return;
    let isMounted = true;
    setError(null);
    page.load().then(
      (loaded) => isMounted && setComponent(() => loaded),
      (cause) => {
        // The browser is offline, or a new version was deployed and this chunk no longer exists.
        if (isMounted) {
          setError(
            new Error(
              `Could not load this page. Reload the dashboard. (${cause})`,
            ),
          );
        }
      },
    );
    return () => {
      isMounted = false;
    };
  }, [page, attempt]);
  if (page === undefined) {
    return (
      <Page title="Page not found">
        <p>
          This page doesn't exist. <a href={href(["jobs"])}>Go to Jobs</a>
        </p>
      </Page>
    );
  }
  if (error !== null) {
    return (
      <main id="main">
        <ErrorMessage error={error} retry={() => setAttempt(attempt + 1)} />
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
