/**
 * GET /fine_tuning/jobs/{id}/events?type&after&limit, newest first. With `Accept: text/event-stream`, a live stream whose
 * `id` is the event's number, so that a client that reconnects with `Last-Event-ID` receives every event exactly once.
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
 * The duration of a stream, after which the client reconnects. An isolate accepts no new requests after half of its
 * wall-clock limit (75 s of 150 s on the free plan), so a shorter stream ends before the isolate is killed, and an isolate
 * that has retired because of its CPU time does not serve streams for long. Random, so that a thousand clients do not
 * reconnect at once.
 */
const streamMs = { min: 60_000, max: 70_000 };
const keepAliveMs = 15_000;
/** Per caller and isolate. Each stream uses memory while it is open, and isolates have 256 MB. */
export const maxStreams = 20;
const streams = new Map<string, number>();

/** `message`: the log without metrics. Streams contain both. */
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
  // 204 keeps an EventSource from reconnecting.
  if (job.final && after >= job.last_event) return c.body(null, 204);
  const close = openStream(JSON.stringify(c.get("caller")));
  const hub = await c.get("hub")();
  c.header("cache-control", "no-store");
  return streamSSE(c, async (stream) => {
    const batches: EventBatch[] = [];
    let wake = Promise.withResolvers<void>();
    const stop = hub.watch(job.job_id, after, (batch) => {
      batches.push(batch);
      wake.resolve();
    });
    stream.onAbort(() => wake.resolve());
    const until = Date.now() + streamMs.min + Math.random() * (streamMs.max - streamMs.min);
    try {
      await stream.write("retry: 1000\n\n");
      while (!stream.aborted && Date.now() < until) {
        const timer = setTimeout(() => wake.resolve(), Math.min(keepAliveMs, until - Date.now()));
        await wake.promise;
        clearTimeout(timer);
        wake = Promise.withResolvers();
        if (batches.length === 0) await stream.write(": alive\n\n");
        for (const { events, done, isShuttingDown } of batches.splice(0)) {
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

/** Counts a caller's streams. Throws above the limit. Returns a function to call when the stream closes. */
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

/** The number of the last event that the client has received, or 0. */
function lastEventId(c: ApiContext): number {
  const text = c.req.header("last-event-id") ?? c.req.query("last_event_id") ?? "0";
  const number = Number(text);
  if (!Number.isInteger(number) || number < 0 || number > 2 ** 31 - 1) {
    throw new ApiError("invalid_request", [{
      param: "last-event-id",
      message: `last-event-id = ${
        JSON.stringify(text)
      }: must be the id (a number) of an event in this stream.`,
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
