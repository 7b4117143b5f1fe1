/**
 * GET /fine_tuning/jobs/{id}/events?type&after&limit, newest first; or, with `Accept: text/event-stream`, as they come: each
 * with its number as `id`, so that a client that comes back with `Last-Event-ID` misses none and gets none twice.
 */
import { streamSSE } from "hono/streaming";
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { parseOrThrow } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import type { EventBatch } from "../../event_hub.ts";
import { cursor, pathId } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderEvent } from "../../serializers/fine_tuning.ts";
import { renderList } from "../../serializers/list.ts";
import { EventRow, page } from "../../rows.ts";
import { defineRoute } from "../define.ts";

/**
 * How long a stream lasts; then its client comes back. An isolate takes no new request once half of its wall clock is over
 * (75 s of 150 s on the free plan), so a stream that is shorter than that half ends by itself before the isolate is
 * killed, and an isolate that retires for its CPU does not long spend more on its streams. Spread, so that a thousand
 * streams do not come back all at once.
 */
const streamMs = { least: 60_000, most: 70_000 };
const aliveMs = 15_000;
/** Of one caller in an isolate. Each holds memory for as long as it is open, and the platform's isolates have 256 MB. */
const maxStreams = 20;
const streams = new Map<string, number>();

/** `message`: the log without its lines of figures. A stream has both. */
export const Query = z.object({ type: z.enum(["message", "metrics"]).optional() });

async function listEvents(c: ApiContext): Promise<Response> {
  if ((c.req.header("accept") ?? "").includes("text/event-stream")) return await streamEvents(c);
  const id = pathId("job", c.req.param("id"), "job_not_found");
  const { limit, after } = paging(c.req.query());
  const { type } = parseOrThrow(Query, c.req.query());
  const found = await rpc(c.get("platform").db, "list_events", {
    caller: c.get("caller"),
    job_id: id,
    after: cursor("event", after),
    limit,
    type: type ?? null,
  }, page(EventRow));
  return c.json(renderList(found, renderEvent));
}

const Opened = z.object({ job_id: z.string(), last_event: z.int(), final: z.boolean() });

async function streamEvents(c: ApiContext): Promise<Response> {
  const id = pathId("job", c.req.param("id"), "job_not_found");
  const after = lastEventId(c);
  const job = await rpc(
    c.get("platform").db,
    "open_event_stream",
    { caller: c.get("caller"), job_id: id },
    Opened,
  );
  // To an EventSource this means: do not come back.
  if (job.final && after >= job.last_event) return c.body(null, 204);
  const close = openStream(JSON.stringify(c.get("caller")));
  const hub = await c.get("hub")();
  c.header("cache-control", "no-store");
  return streamSSE(c, async (stream) => {
    const waiting: EventBatch[] = [];
    let wake = Promise.withResolvers<void>();
    const stop = hub.watch(job.job_id, after, (news) => {
      waiting.push(news);
      wake.resolve();
    });
    stream.onAbort(() => wake.resolve());
    const until = Date.now() + streamMs.least + Math.random() * (streamMs.most - streamMs.least);
    try {
      await stream.write("retry: 1000\n\n");
      while (!stream.aborted && Date.now() < until) {
        const timer = setTimeout(() => wake.resolve(), Math.min(aliveMs, until - Date.now()));
        await wake.promise;
        clearTimeout(timer);
        wake = Promise.withResolvers();
        if (waiting.length === 0) await stream.write(": alive\n\n");
        for (const { events, done, isShuttingDown } of waiting.splice(0)) {
          for (const event of events) {
            await stream.writeSSE({
              id: String(event.number),
              event: event.type,
              data: JSON.stringify(renderEvent(event)),
            });
          }
          if (isShuttingDown) return;
          if (done) return await stream.writeSSE({ event: "done", data: "[DONE]" });
        }
      }
    } finally {
      stop();
      close();
    }
  });
}

/** Counts one more stream of a caller, or refuses it; returns what counts it off. */
function openStream(caller: string): () => void {
  const open = streams.get(caller) ?? 0;
  if (open >= maxStreams) {
    throw ApiError.of("too_many_streams", { max: maxStreams }, { headers: { "retry-after": "5" } });
  }
  streams.set(caller, open + 1);
  return () => {
    const left = (streams.get(caller) ?? 1) - 1;
    if (left > 0) streams.set(caller, left);
    else streams.delete(caller);
  };
}

/** The number of the last event that the client has; 0 when it has none. */
function lastEventId(c: ApiContext): number {
  const text = c.req.header("last-event-id") ?? c.req.query("last_event_id") ?? "0";
  const number = Number(text);
  if (!Number.isInteger(number) || number < 0 || number > 2 ** 31 - 1) {
    throw new ApiError("invalid_request", [{
      param: "last-event-id",
      message: `last-event-id = ${
        JSON.stringify(text)
      }: must be the id of an event of this stream, a number.`,
    }]);
  }
  return number;
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/fine_tuning/jobs/{id}/events",
    id: "listJobEvents",
    summary: "List a job's events",
    description:
      "Log messages and metrics. With `Accept: text/event-stream`, streams them live, resumes after `Last-Event-ID`, and ends with `done`.",
    scope: "jobs:read",
    paging: 100,
    query: Query,
    response: {
      200: {
        description: "Newest first; as a stream, oldest first",
        content: { "application/json": "Event[]", "text/event-stream": () => z.string() },
      },
      204: { description: "The stream has ended; do not reconnect" },
    },
    errors: ["job_not_found", "too_many_streams"],
    handler: listEvents,
  }),
];
