/** Loading, errors and empty states. */
import type { ComponentChildren } from "preact";
import { ApiError } from "../../../client/mod.ts";

/** An error with the API's own message, which says what to do. */
export function ErrorMessage(
  { error, retry }: { error: Error; retry?: (() => unknown) | undefined },
) {
  const apiError = error instanceof ApiError ? error : null;
  // fetch() throws a TypeError when it gets no response.
  const text = error instanceof TypeError
    ? "Could not reach the server. Check your connection and that the server is up."
    : error.message;
  return (
    <div class="problem" role="alert">
      <p>{text}</p>
      {apiError !== null && (
        <p class="quiet small">
          {apiError.code} · request {apiError.problem.request_id}
        </p>
      )}
      {retry && <button type="button" onClick={() => void retry()}>Try again</button>}
    </div>
  );
}

export const Loading = ({ what }: { what?: string | undefined }) => (
  <div class="loading" role="status">
    <span class="unseen">{what === undefined ? "Loading" : `Loading ${what}`} …</span>
    <i />
    <i />
    <i />
  </div>
);

/** Shown instead of an empty list: what belongs here, and how to get it. */
export const EmptyState = (
  { title, children }: { title: string; children?: ComponentChildren },
) => (
  <div class="empty">
    <p>
      <strong>{title}</strong>
    </p>
    {children}
  </div>
);

interface QueryResult<T> {
  data: T | undefined;
  error: Error | null;
  isPaused: boolean;
  refetch: () => unknown;
}

/** Renders a query's data, or its loading or error state. Keeps showing data when a refetch fails. */
export function QueryBoundary<T>({ query, what, children }: {
  query: QueryResult<T>;
  /** What is loading: "the job". */
  what?: string;
  children: (data: T) => ComponentChildren;
}) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  if (query.error !== null) {
    return <ErrorMessage error={query.error} retry={query.refetch} />;
  }
  if (query.isPaused) {
    return (
      <p class="empty" role="status">
        You're offline. This page loads when you reconnect.
      </p>
    );
  }
  return <Loading what={what} />;
}
