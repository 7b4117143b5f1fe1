/** A job's current state: loaded once, then updated by its event stream. */
import { useQuery, useQueryClient } from "@tanstack/preact-query";
import { useEffect, useRef, useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { getServices } from "../../lib/services.ts";
import type { Job, JobEvent, MetricsPoint } from "../../lib/types.ts";
import { type ConnectionState, followEvents } from "./event_stream.ts";
import { fetchJob, isFinal, jobKey } from "./job_queries.ts";
import { maxPoints, mergePoints, pointsOf } from "./metrics.ts";

const maxLogLines = 500;
const chartPoints = 1000;
/** A queued job emits no events while its position changes. */
const pollIntervalMs = 4000;
/** The notification about a finished job arrives shortly after its last event. */
const notificationDelayMs = 2000;

export interface StepRange {
  from: number;
  to: number;
}

/** `range`: a part of the run in more detail; null is the whole run, live. */
export function useJob(id: string, range: StepRange | null) {
  const cache = useQueryClient();
  const [connection, setConnection] = useState<ConnectionState>("connecting");
  const [events, setEvents] = useState<JobEvent[] | null>(null);
  const [points, setPoints] = useState<MetricsPoint[] | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [attempt, setAttempt] = useState(0);
  const job = useQuery({
    queryKey: jobKey(id),
    queryFn: () => fetchJob(id),
    refetchInterval: ({ state }) =>
      state.data === undefined || isFinal(state.data.status) ? false : pollIntervalMs,
  });
  const detail = useQuery({
    queryKey: ["metrics", id, range],
    enabled: range !== null,
    queryFn: async () =>
      (await fetchMetrics(id, {
        from_step: Math.max(0, range?.from ?? 0),
        to_step: range?.to ?? 0,
      })).data,
  });

  // The order matters: first the newest event's number, then the log, then the metrics with the number of the last event
  // they include, and then all events after the lower of the two numbers. No event is missed; repeated ones change nothing.
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const load = async () => {
      setError(null);
      const metrics = fetchMetrics(id, {}, signal);
      metrics.catch(() => {}); // reported by the await below
      const newest = (await fetchEvents(id, { limit: 1 }, signal))[0]?.number ??
        0;
      const log = await fetchEvents(
        id,
        { limit: 100, type: "message" },
        signal,
      );
      const { data, last_event } = await metrics;
      const start = Math.min(newest, last_event);
      let current = data;
      setEvents(log.filter(({ number }) => number <= start).toReversed());
      setPoints(current);
      let isReloading = false;
      const update = (updated: MetricsPoint[]) => {
        current = updated;
        setPoints(current);
      };
      await followEvents(id, start, {
        signal,
        onConnection: setConnection,
        onEvents: (fresh) => {
          const messages = fresh.filter(({ type }) => type === "message");
          if (messages.length > 0) {
            setEvents((before) => [...before ?? [], ...messages].slice(-maxLogLines));
            void cache.invalidateQueries({ queryKey: ["checkpoints", id] });
          }
          const newPoints = pointsOf(fresh);
          if (newPoints.length > 0) update(mergePoints(current, newPoints));
          void cache.invalidateQueries({ queryKey: jobKey(id) });
          if (current.length > maxPoints && !isReloading) {
            isReloading = true;
            void fetchMetrics(id, {}, signal).then(({ data }) => {
              const last = data.at(-1)?.step ?? -1;
              update(
                mergePoints(data, current.filter(({ step }) => step > last)),
              );
            }).finally(() => isReloading = false);
          }
        },
      });
      // The final state, after the last event.
      void cache.invalidateQueries({ queryKey: jobKey(id) });
      void cache.invalidateQueries({ queryKey: ["models"] });
      setTimeout(
        () => void cache.invalidateQueries({ queryKey: ["notifications"] }),
        notificationDelayMs,
      );
    };
    load().catch((cause) => {
      if (!signal.aborted) {
        setError(cause instanceof Error ? cause : new Error(String(cause)));
      }
    });
    return () => controller.abort();
  }, [id, attempt]);

  // Follow again when a finished job continues, for example because it was resumed elsewhere.
  const previousStatus = useRef<Job["status"] | null>(null);
  useEffect(() => {
    const previous = previousStatus.current;
    const status = job.data?.status ?? null;
    if (
      previous !== null && isFinal(previous) && status !== null &&
      !isFinal(status)
    ) {
      setAttempt(attempt + 1);
    }
    previousStatus.current = status;
  }, [job.data?.status]);

  return {
    job,
    connection,
    events,
    points: range === null ? points : detail.data ?? points,
    error,
    retry: () => setAttempt(attempt + 1),
  };
}

export async function fetchMetrics(
  id: string,
  steps: { from_step?: number; to_step?: number },
  signal?: AbortSignal,
) {
  const { data, last_event } = unwrap(
    await getServices().api.GET("/fine_tuning/jobs/{id}/metrics", {
      params: { path: { id }, query: { points: chartPoints, ...steps } },
      ...(signal === undefined ? {} : { signal }),
    }),
  );
  return { data, last_event };
}

/** Newest first. */
async function fetchEvents(
  id: string,
  query: { limit: number; type?: "message" },
  signal: AbortSignal,
): Promise<JobEvent[]> {
  const page = unwrap(
    await getServices().api.GET("/fine_tuning/jobs/{id}/events", {
      params: { path: { id }, query },
      signal,
    }),
  );
  if (typeof page === "string") {
    throw new Error(
      "The server responded with an event stream instead of a list.",
    );
  }
  return page.data;
}
