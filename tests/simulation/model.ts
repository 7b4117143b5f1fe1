/** What the simulation knows independently of the tables: requests made, answers received, messages sent. */

/** A job that a client creates once, regardless of how often it sends the request. */
export interface Intent {
  key: number;
  project: number;
  /** null: only the SDK's retry header marks a repeated request. */
  idempotencyKey: string | null;
  body: Record<string, unknown>;
  /** In simulated milliseconds. */
  firstSent: number;
  sent: number;
  /** The jobs it created: at most one. */
  jobs: Set<string>;
}

export interface Job {
  key: number;
  id: string;
  project: number;
  /** The client received its id. */
  acknowledged: boolean;
  /** A client cancelled it. */
  cancelled: boolean;
  /** RunPod statuses and error codes that may have ended it. */
  reasons: Set<string>;
  attempts: Attempt[];
  /** For each training step, the attempt whose metrics are stored. */
  metrics: Map<number, number>;
  checked: boolean;
}

export interface Attempt {
  key: number;
  id: string;
  number: number;
  job: Job;
  /** /run calls that may have started a run. */
  started: number;
  fence: number;
  holder: Worker | null;
  /** In simulated milliseconds: until then no other worker may hold it. */
  lease: number;
  sequence: number;
  /** The outcome that the holder reported and the server accepted. */
  outcome: string | null;
  /** The server sent `cancel`, or the job was paused before a worker claimed the attempt. */
  cancelRequested: boolean;
  /** The fence returned for each claim, by webhook-id. */
  claims: Map<string, number>;
}

export type Status = "IN_QUEUE" | "IN_PROGRESS" | "COMPLETED" | "FAILED" | "CANCELLED" | "TIMED_OUT";

/** A run at RunPod. */
export interface Run {
  key: number;
  id: string;
  attempt: Attempt;
  callbackUrl: string;
  secret: string;
  webhook: string;
  status: Status;
  error: string | null;
  output: Record<string, unknown> | null;
  /** Deleted: /status says 404. */
  gone: boolean;
  at: number;
  ttl: number;
  executionTimeout: number;
  startedAt: number | null;
  endedAt: number | null;
  workers: Worker[];
}

export interface File {
  path: string;
  bytes: number;
  sha256: string;
}

export type Action =
  | { do: "claim" | "report" | "checkpoint" | "claim again" }
  | { do: "upload"; files: File[]; texts: string[]; damage: boolean }
  | { do: "verify"; file: File }
  | { do: "report checkpoint"; step: number; files: File[] }
  | { do: "finish"; body: Record<string, unknown> }
  | { do: "vanish"; output: Record<string, unknown> | null };

export interface Worker {
  key: number;
  id: string;
  run: Run;
  alive: boolean;
  fence: number;
  sequence: number;
  step: number;
  /** Steps left to train. */
  steps: number;
  ending: string;
  queue: Action[];
  pending: { message: Message; then: (reply: Record<string, unknown>) => void; tries: number } | null;
  /** The number of calls for which it still ignores the directive `stop`. */
  ignoredStops: number;
}

/** A callback or webhook in flight. */
export interface Message {
  key: number;
  name: string;
  url: string;
  text: string;
  body: Record<string, unknown>;
  /** null: RunPod's webhook, unsigned. */
  secret: string | null;
  id: string;
  signedAt: number;
  attempt: Attempt;
  worker: Worker | null;
  forged: boolean;
}

export const final = (status: string) => ["succeeded", "failed", "cancelled"].includes(status);
