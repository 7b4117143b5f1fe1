/** Routes in the address's fragment, so that any host of plain files will do: `#/jobs/ftjob-…?tab=x`. */
import { useEffect, useState } from "preact/hooks";

export interface Route {
  /** `["jobs", "ftjob-…"]` */
  path: string[];
  query: URLSearchParams;
}

/** The route of a fragment. */
export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
}

/** The address of a page, for links. */
export function href(path: string[], query: Record<string, string | null | undefined> = {}): string {
  const set = Object.entries(query).filter((entry): entry is [string, string] => !!entry[1]);
  const search = set.length === 0 ? "" : `?${new URLSearchParams(set)}`;
  return `#/${path.map(encodeURIComponent).join("/")}${search}`;
}

/** Goes to a page. `replace`: without a step in the history. */
export function go(path: string[], query?: Record<string, string | null | undefined>, replace = false): void {
  if (replace) location.replace(href(path, query));
  else location.hash = href(path, query);
}

export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return parseRoute(hash);
}
