/** A job as it is now: read once, then kept up by its stream. */
import { useQuery, useQueryClient } from "@tanstack/preact-query";
import { useEffect, useRef, useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { type Event, isFinal, type Job, jobKey, type Point, readJob } from "../../data.ts";
import { followEvents, type Line } from "../../live.ts";
import { merge, mostPoints, pointsOf } from "../../metrics.ts";
import { use } from "../../services.ts";

/** So many log lines are kept on the page. */
const mostLines = 500;
const chartPoints = 1000;

export interface Range {
  from: number;
  to: number;
}

const path = (id: string) => ({ path: { id } });

/** `range`: a part of the run, in more detail; null is the whole, live. */
export function useJob(id: string, range: Range | null) {
  const cache = useQueryClient();
  const [line, setLine] = useState<Line>("connecting");
  const [events, setEvents] = useState<Event[] | null>(null);
  const [points, setPoints] = useState<Point[] | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [tries, setTries] = useState(0);
  const job = useQuery({
    queryKey: jobKey(id),
    queryFn: () => readJob(id),
    // What waits gets no events while its place in the queue changes.
    refetchInterval: ({ state }) => state.data === undefined || isFinal(state.data.status) ? false : 4000,
  });
  const detail = useQuery({
    queryKey: ["metrics", id, range],
    enabled: range !== null,
    queryFn: async () =>
      unwrap(
        await use().api.GET("/fine_tuning/jobs/{id}/metrics", {
          params: {
            ...path(id),
            query: { points: chartPoints, from_step: Math.max(0, range?.from ?? 0), to_step: range?.to ?? 0 },
          },
        }),
      ).data,
  });

  // The order matters: the newest event's number, then the log; the figures, with the number up to which they have all;
  // and what comes after the lower of the two. So nothing is missed, and what comes twice is the same.
  useEffect(() => {
    const stop = new AbortController();
    const whole = async () => {
      const { data, last_event } = unwrap(
        await use().api.GET("/fine_tuning/jobs/{id}/metrics", {
          params: { ...path(id), query: { points: chartPoints } },
          signal: stop.signal,
        }),
      );
      return { read: data, last: last_event };
    };
    const list = async (query: { limit: number; type?: "message" }) => {
      const log = unwrap(
        await use().api.GET("/fine_tuning/jobs/{id}/events", {
          params: { ...path(id), query },
          signal: stop.signal,
        }),
      );
      if (typeof log === "string") throw new Error("A list was asked for, and a stream came.");
      return log.data;
    };
    const begin = async () => {
      setError(null);
      const figures = whole();
      figures.catch(() => {}); // told where it is waited for, below
      const newest = (await list({ limit: 1 }))[0]?.number ?? 0;
      const log = await list({ limit: 100, type: "message" });
      const { read, last } = await figures;
      const from = Math.min(newest, last);
      let kept = read;
      setEvents(log.filter(({ number }) => number <= from).toReversed());
      setPoints(kept);
      let reading = false;
      await followEvents(id, from, {
        signal: stop.signal,
        line: setLine,
        events: (fresh) => {
          const said = fresh.filter(({ type }) => type === "message");
          if (said.length > 0) setEvents((before) => [...before ?? [], ...said].slice(-mostLines));
          const figures = pointsOf(fresh);
          if (figures.length > 0) {
            kept = merge(kept, figures);
            setPoints(kept);
          }
          void cache.invalidateQueries({ queryKey: jobKey(id) });
          if (said.length > 0) void cache.invalidateQueries({ queryKey: ["checkpoints", id] });
          if (kept.length > mostPoints && !reading) {
            reading = true;
            void whole().then(({ read }) => {
              kept = merge(read, kept.filter(({ step }) => step > (read.at(-1)?.step ?? -1)));
              setPoints(kept);
            }).finally(() => reading = false);
          }
        },
      });
      // The last state, after the last event.
      void cache.invalidateQueries({ queryKey: jobKey(id) });
      // Its notification comes a moment later.
      setTimeout(() => void cache.invalidateQueries({ queryKey: ["notifications"] }), 2000);
    };
    begin().catch((cause) => {
      if (!stop.signal.aborted) setError(cause instanceof Error ? cause : new Error(String(cause)));
    });
    return () => stop.abort();
  }, [id, tries]);

  // A job that goes on after its stream came to an end (it was resumed elsewhere) is followed again.
  const seen = useRef<Job["status"] | null>(null);
  useEffect(() => {
    const status = job.data?.status ?? null;
    if (seen.current !== null && isFinal(seen.current) && status !== null && !isFinal(status)) {
      setTries(tries + 1);
    }
    seen.current = status;
  }, [job.data?.status]);

  return {
    job,
    line,
    events,
    points: range === null ? points : detail.data ?? points,
    error,
    again: () => setTries(tries + 1),
  };
}
