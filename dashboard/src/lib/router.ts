/** A router in the URL fragment, so that any static host works: `#/jobs/ftjob-…?tab=x`. */
import { useEffect, useState } from "preact/hooks";

export interface Route {
  /** `["jobs", "ftjob-…"]` */
  path: string[];
  query: URLSearchParams;
}

export type PageProps = { route: Route };

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  return {
    path: path.split("/").filter(Boolean).map(decodeURIComponent),
    query: new URLSearchParams(query),
  };
}

type Query = Record<string, string | null | undefined>;

/** A link to a page. Leaves out empty query parameters. */
export function href(path: string[], query: Query = {}): string {
  const present = Object.entries(query).filter((
    entry,
  ): entry is [string, string] => !!entry[1]);
  const search = present.length === 0 ? "" : `?${new URLSearchParams(present)}`;
  return `#/${path.map(encodeURIComponent).join("/")}${search}`;
}

/** Navigates to a page. `replace`: without a new history entry. */
export function navigate(
  path: string[],
  query?: Query,
  { replace = false } = {},
): void {
  if (replace) location.replace(href(path, query));
  else location.hash = href(path, query);
}

export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const update = () => setHash(location.hash);
    addEventListener("hashchange", update);
    // The URL may have changed between the first render and this effect.
    update();
    return () => removeEventListener("hashchange", update);
  }, []);
  return parseRoute(hash);
}
