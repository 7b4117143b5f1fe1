/** What a walk knows by itself, apart from the tables: what was asked for, who was told what, what was sent. */

/** A create that a client means once, however often it is sent. */
export interface Intent {
  key: number;
  project: number;
  /** null: only the SDK's own retry header tells that it is sent again. */
  idempotencyKey: string | null;
  body: Record<string, unknown>;
  /** By the walk's clock, ms. */
  firstSent: number;
  sent: number;
  /** The jobs that it made: one at most. */
  jobs: Set<string>;
}

export interface Job {
  key: number;
  id: string;
  project: number;
  /** The client has its id. */
  acknowledged: boolean;
  /** A client's cancel was carried out. */
  cancelled: boolean;
  /** RunPod's words and the codes that may have ended it. */
  reasons: Set<string>;
  attempts: Attempt[];
  /** Which attempt's figures stand for a step. */
  metrics: Map<number, number>;
  judged: boolean;
}

export interface Attempt {
  key: number;
  id: string;
  number: number;
  job: Job;
  /** /run calls that may have started something. */
  started: number;
  fence: number;
  holder: Worker | null;
  /** By the walk's clock, ms: until then nobody else may hold it. */
  lease: number;
  sequence: number;
  /** The outcome that the holder gave and that was taken. */
  outcome: string | null;
  /** Nobody wants it: the order `cancel` was given, or the job was paused before a worker came. */
  unwanted: boolean;
  /** The fence that each claim got, by its webhook-id. */
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
  /** Steps that it trains before it ends. */
  steps: number;
  ending: string;
  queue: Action[];
  pending: { message: Message; then: (reply: Record<string, unknown>) => void; tries: number } | null;
  /** Was told to stop, and goes on all the same for so many calls. */
  deaf: number;
}

/** A callback or a webhook on its way. */
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
