/**
 * Follows many jobs' events for many streams with one database call a beat: a stream costs memory, not a connection.
 * LISTEN would need a connection that the pooler does not give, and NOTIFY takes a global lock at each commit.
 */
import * as z from "zod";
import type { Database } from "../_shared/database/connect.ts";
import { rpc } from "../_shared/database/rpc.ts";
import { logError } from "../_shared/log.ts";
import { isShuttingDown } from "../_shared/isolate.ts";
import { EventRow } from "./rows.ts";

/** How often the database is asked while somebody listens. An event is told within about this time. */
const beatMs = 400;

const Watched = z.array(z.object({
  job_id: z.string(),
  events: z.array(EventRow),
  final: z.boolean(),
  last_event: z.int(),
}));

export interface EventBatch {
  events: EventRow[];
  /** The job has ended and these are its last events. */
  done: boolean;
  /** The isolate is about to end: the stream closes, and its client comes back to another. */
  isShuttingDown: boolean;
}
interface Watcher {
  jobId: string;
  /** The number of the last event that it has. */
  after: number;
  tell: (news: EventBatch) => void;
}

/** One hub an app. It asks only while somebody watches. */
export class EventHub {
  readonly #watchers = new Set<Watcher>();
  #beating = false;

  constructor(private readonly db: Database) {}

  /** Tells of every event after number `after`, in order, once. Returns what ends it. */
  watch(jobId: string, after: number, tell: (news: EventBatch) => void): () => void {
    const watcher = { jobId, after, tell };
    this.#watchers.add(watcher);
    if (!this.#beating) void this.#beat();
    return () => void this.#watchers.delete(watcher);
  }

  async #beat(): Promise<void> {
    this.#beating = true;
    while (this.#watchers.size > 0) {
      try {
        await this.#ask();
      } catch (error) {
        logError("events", error); // the next beat asks again
      }
      if (isShuttingDown()) this.#leave();
      await new Promise((resolve) => setTimeout(resolve, beatMs));
    }
    this.#beating = false;
  }

  #leave(): void {
    for (const { tell } of this.#watchers) tell({ events: [], done: false, isShuttingDown: true });
    this.#watchers.clear();
  }

  async #ask(): Promise<void> {
    // Many watch one job: it is asked for once, from the place of whoever has least.
    const least = new Map<string, number>();
    for (const { jobId, after } of this.#watchers) {
      least.set(jobId, Math.min(after, least.get(jobId) ?? after));
    }
    const watched = Array.from(least, ([job_id, after]) => ({ job_id, after }));
    const found = await rpc(this.db, "list_new_events", { watched }, Watched);
    for (const { job_id, events, final, last_event } of found) {
      for (const watcher of this.#watchers) {
        if (watcher.jobId !== job_id) continue;
        const fresh = events.filter(({ number }) => number > watcher.after);
        watcher.after = fresh.at(-1)?.number ?? watcher.after;
        const done = final && watcher.after >= last_event;
        if (fresh.length > 0 || done) watcher.tell({ events: fresh, done, isShuttingDown: false });
        if (done) this.#watchers.delete(watcher);
      }
    }
  }
}
