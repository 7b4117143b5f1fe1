/** Follows a job's events by SSE: over fetch, as a browser's EventSource sends no Authorization header. */
import { EventSourceParserStream } from "eventsource-parser/stream";
import type { Event } from "./data.ts";
import { headers, use } from "./services.ts";

/** `live`: the stream is open; `waiting`: it broke and is tried again; `ended`: the job has, and all was read. */
export type Line = "connecting" | "live" | "waiting" | "offline" | "ended";

const mostWaitMs = 30_000;
/** The server says at least every 15 s that it is there. A line that says nothing for longer is dead, and may not know. */
const silentMs = 40_000;
/** Events come in bursts: they are handed on a few times a second. */
const gatherMs = 200;

/**
 * Hands on every event after number `after`, in order, each once, over as many connections as it takes. Ends when the
 * job has, or with `signal`.
 */
export async function followEvents(jobId: string, after: number, options: {
  events: (events: Event[]) => void;
  line: (line: Line) => void;
  signal: AbortSignal;
}): Promise<void> {
  const { signal } = options;
  const url = `${use().config.apiUrl}/fine_tuning/jobs/${encodeURIComponent(jobId)}/events`;
  let last = after;
  let failures = 0;
  options.line("connecting");
  while (!signal.aborted) {
    const connection = new AbortController();
    const cut = () => connection.abort();
    signal.addEventListener("abort", cut);
    addEventListener("offline", cut);
    let silence = setTimeout(cut, silentMs);
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(cut, silentMs);
    };
    try {
      const response = await fetch(url, {
        headers: { ...await headers(), accept: "text/event-stream", "last-event-id": String(last) },
        cache: "no-store",
        signal: connection.signal,
      });
      if (response.status === 204) return options.line("ended");
      // What is refused for good is told by the page's own call for the job.
      if ([403, 404].includes(response.status)) return options.line("ended");
      if (!response.ok || response.body === null) {
        throw new Error(`the stream was answered ${response.status}`);
      }
      options.line("live");
      failures = 0;
      const ended = await read(response.body, heard, (events) => {
        const fresh = events.filter(({ number }) => number > last);
        last = fresh.at(-1)?.number ?? last;
        if (fresh.length > 0) options.events(fresh);
      });
      if (ended) return options.line("ended");
      continue; // the server closes a stream after about a minute: we come back at once
    } catch {
      if (signal.aborted) return;
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", cut);
      removeEventListener("offline", cut);
    }
    options.line(navigator.onLine ? "waiting" : "offline");
    await wait(Math.min(mostWaitMs, 500 * 2 ** failures) * (0.75 + Math.random() / 2), signal);
    failures += 1;
  }
}

/** Reads one connection to its end; true when the job has come to its own. */
async function read(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  heard: () => void,
  hand: (events: Event[]) => void,
): Promise<boolean> {
  let gathered: Event[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const handOn = () => {
    clearTimeout(timer);
    timer = undefined;
    if (gathered.length > 0) hand(gathered);
    gathered = [];
  };
  const listen = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(chunk, controller) {
      heard();
      controller.enqueue(chunk);
    },
  });
  const messages = body.pipeThrough(listen).pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream());
  const reader = messages.getReader();
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) return false;
      if (value.event === "done") return true;
      gathered.push(JSON.parse(value.data) as Event);
      timer ??= setTimeout(handOn, gatherMs);
    }
  } finally {
    handOn();
  }
}

/** Until the time is over, or the browser is back online. */
function wait(ms: number, signal: AbortSignal): Promise<void> {
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
