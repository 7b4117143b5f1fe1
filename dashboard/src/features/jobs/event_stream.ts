/** Follows a job's events (SSE) with fetch, because EventSource cannot send an Authorization header. */
import { EventSourceParserStream } from "eventsource-parser/stream";
import { authHeaders, getServices } from "../../lib/services.ts";
import type { JobEvent } from "../../lib/types.ts";

/** `ended`: the job has finished and all its events were read. */
export type ConnectionState =
  | "connecting"
  | "live"
  | "reconnecting"
  | "offline"
  | "ended";

const maxReconnectDelayMs = 30_000;
/** The server sends a heartbeat every 15 s. A connection that is silent for this long is dead, even if open. */
const heartbeatTimeoutMs = 40_000;
/** Events come in bursts; batching them limits rendering to a few times per second. */
const batchMs = 200;

/**
 * Passes on every event after number `after`, in order and exactly once, across reconnects. Resolves when the job has
 * finished or the signal aborts.
 */
export async function followEvents(jobId: string, after: number, options: {
  onEvents: (events: JobEvent[]) => void;
  onConnection: (state: ConnectionState) => void;
  signal: AbortSignal;
}): Promise<void> {
  const { signal, onEvents, onConnection } = options;
  const url = `${getServices().config.apiUrl}/fine_tuning/jobs/${encodeURIComponent(jobId)}/events`;
  let lastEvent = after;
  let failures = 0;
  onConnection("connecting");
  while (!signal.aborted) {
    const connection = new AbortController();
    const disconnect = () => connection.abort();
    signal.addEventListener("abort", disconnect);
    addEventListener("offline", disconnect);
    let timeout = setTimeout(disconnect, heartbeatTimeoutMs);
    const resetTimeout = () => {
      clearTimeout(timeout);
      timeout = setTimeout(disconnect, heartbeatTimeoutMs);
    };
    try {
      const response = await fetch(url, {
        headers: {
          ...await authHeaders(),
          accept: "text/event-stream",
          "last-event-id": String(lastEvent),
        },
        cache: "no-store",
        signal: connection.signal,
      });
      if (response.status === 204) return onConnection("ended");
      // The page's own request for the job reports these errors.
      if ([403, 404].includes(response.status)) return onConnection("ended");
      if (!response.ok || response.body === null) {
        throw new Error(`The event stream responded with ${response.status}.`);
      }
      onConnection("live");
      failures = 0;
      const isDone = await readEvents(response.body, resetTimeout, (events) => {
        const fresh = events.filter(({ number }) => number > lastEvent);
        lastEvent = fresh.at(-1)?.number ?? lastEvent;
        if (fresh.length > 0) onEvents(fresh);
      });
      if (isDone) return onConnection("ended");
      continue; // the server closes a stream after about a minute: reconnect at once
    } catch {
      if (signal.aborted) return;
    } finally {
      clearTimeout(timeout);
      signal.removeEventListener("abort", disconnect);
      removeEventListener("offline", disconnect);
    }
    onConnection(navigator.onLine ? "reconnecting" : "offline");
    const backoffMs = Math.min(maxReconnectDelayMs, 500 * 2 ** failures);
    await waitOrOnline(backoffMs * (0.75 + Math.random() / 2), signal);
    failures += 1;
  }
}

/** Reads one connection until it closes; returns whether the job has finished. */
async function readEvents(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  onData: () => void,
  onBatch: (events: JobEvent[]) => void,
): Promise<boolean> {
  let batch: JobEvent[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    if (batch.length > 0) onBatch(batch);
    batch = [];
  };
  const observed = new TransformStream<
    Uint8Array<ArrayBuffer>,
    Uint8Array<ArrayBuffer>
  >({
    transform(chunk, controller) {
      onData();
      controller.enqueue(chunk);
    },
  });
  const messages = body.pipeThrough(observed).pipeThrough(
    new TextDecoderStream(),
  )
    .pipeThrough(new EventSourceParserStream());
  const reader = messages.getReader();
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) return false;
      if (value.event === "done") return true;
      batch.push(JSON.parse(value.data) as JobEvent);
      timer ??= setTimeout(flush, batchMs);
    }
  } finally {
    flush();
  }
}

/** Resolves after `ms`, or as soon as the browser is back online or the signal aborts. */
function waitOrOnline(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
    signal.addEventListener("abort", done);
  });
}
