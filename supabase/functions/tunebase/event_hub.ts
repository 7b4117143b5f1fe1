/**
 * Polls new events for all streams of an isolate with one database call: a stream costs memory, not a connection. LISTEN
 * would need a connection that the pooler does not offer, and NOTIFY takes a global lock at each commit.
 */
import * as z from "zod";
import type { Database } from "../_shared/database/connect.ts";
import { rpc } from "../_shared/database/rpc.ts";
import { logError } from "../_shared/log.ts";
import { isShuttingDown } from "../_shared/isolate.ts";
import { EventRow } from "./rows.ts";

/** The polling interval, and so the approximate delay of an event. */
const pollMs = 400;

const Watched = z.array(z.object({
  job_id: z.string(),
  events: z.array(EventRow),
  final: z.boolean(),
  last_event: z.int(),
}));

export interface EventBatch {
  events: EventRow[];
  /** The job has finished and these are its last events. */
  done: boolean;
  /** The isolate is about to end: close the stream, so that the client reconnects to another isolate. */
  isShuttingDown: boolean;
}
interface Watcher {
  jobId: string;
  /** The number of the last event that the watcher has received. */
  after: number;
  onEvents: (batch: EventBatch) => void;
}

/** One per app. Polls only while there are watchers. */
export class EventHub {
  readonly #watchers = new Set<Watcher>();
  #isPolling = false;

  constructor(private readonly db: Database) {}

  /** Calls `onEvents` for every event after number `after`, once and in order. Returns a function that unsubscribes. */
  watch(jobId: string, after: number, onEvents: (batch: EventBatch) => void): () => void {
    const watcher = { jobId, after, onEvents };
    this.#watchers.add(watcher);
    if (!this.#isPolling) void this.#poll();
    return () => void this.#watchers.delete(watcher);
  }

  async #poll(): Promise<void> {
    this.#isPolling = true;
    while (this.#watchers.size > 0) {
      try {
        await this.#fetch();
      } catch (error) {
        logError("polling events", error); // retried at the next poll
      }
      if (isShuttingDown()) this.#closeAll();
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
    this.#isPolling = false;
  }

  #closeAll(): void {
    for (const { onEvents } of this.#watchers) onEvents({ events: [], done: false, isShuttingDown: true });
    this.#watchers.clear();
  }

  async #fetch(): Promise<void> {
    // Each job once, from the earliest position of its watchers.
    const earliest = new Map<string, number>();
    for (const { jobId, after } of this.#watchers) {
      earliest.set(jobId, Math.min(after, earliest.get(jobId) ?? after));
    }
    const watched = Array.from(earliest, ([job_id, after]) => ({ job_id, after }));
    const found = await rpc(this.db, "list_new_events", { watched }, Watched);
    for (const { job_id, events, final, last_event } of found) {
      for (const watcher of this.#watchers) {
        if (watcher.jobId !== job_id) continue;
        const fresh = events.filter(({ number }) => number > watcher.after);
        watcher.after = fresh.at(-1)?.number ?? watcher.after;
        const done = final && watcher.after >= last_event;
        if (fresh.length > 0 || done) watcher.onEvents({ events: fresh, done, isShuttingDown: false });
        if (done) this.#watchers.delete(watcher);
      }
    }
  }
}
