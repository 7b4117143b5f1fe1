/**
 * Writes the canonical rows of a large file in another format to Storage. A resumable upload needs the total size first, so
 * validation counts the bytes and this second pass converts again and uploads.
 */
import * as z from "zod";
import type { ConversionSummary } from "../../_shared/datasets/convert/conversion.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { ByteBuffer } from "../../_shared/datasets/row_source.ts";
import { Validator, type ValidatorState } from "../../_shared/datasets/validator.ts";
import { isShuttingDown } from "../../_shared/isolate.ts";
import type { Platform } from "../../_shared/platform.ts";
import { unavailable } from "../../_shared/storage.ts";
import type { CpuBudget } from "../cpu_budget.ts";
import { type ResumableHash } from "./resumable_hash.ts";
import { MultipartConcatenation } from "./concatenate_parts.ts";

/** The saved progress, as JSON. Storage has at least the first `at` bytes of the rows; `validator` resumes there. */
export const Writing = z.object({
  object: z.string(),
  bytes: z.int(),
  sha256: z.string(),
  /** The validation result, for `finish_file_validation`. */
  result: z.looseObject({}),
  summary: z.custom<ConversionSummary>((value) => typeof value === "object" && value !== null),
  upload_url: z.string().nullable(),
  at: z.int(),
  validator: z.custom<ValidatorState>((value) => typeof value === "object").nullable(),
});
export type Writing = z.infer<typeof Writing>;

type ResumePoint = Pick<Writing, "at" | "validator">;

/** The distance between resume points whose bytes are still being uploaded. */
const resumePointBytes = 2 ** 20;

/** Buffers the converted rows of a validator. */
export class ConvertedRows {
  #lines: Uint8Array[] = [];
  readonly output = (line: Uint8Array): void => void this.#lines.push(line);

  /** The buffered bytes; null if there are none. */
  take(): Uint8Array | null {
    if (this.#lines.length === 0) return null;
    const held = new ByteBuffer();
    for (const line of this.#lines) held.add(line);
    this.#lines = [];
    return held.take(new Uint8Array());
  }
}

/** Adds the buffered rows to their hash. */
export function hashRows(rows: ConvertedRows, hashes: ResumableHash): void {
  const bytes = rows.take();
  if (bytes !== null) hashes.update(bytes, hashes.bytes);
}

interface Task {
  bytes: number;
  sliceBytes: number;
  read(begin: number): AsyncGenerator<Uint8Array>;
  /** Saves progress and extends the lease by `seconds`; false if another worker has taken over the file. */
  save(writing: Writing, seconds: number): Promise<boolean>;
  leaseSeconds: number;
}

/** Writes until the budget is spent; true once all rows are in Storage. */
export async function writeRows(
  { supabase, settings }: Platform,
  writing: Writing,
  task: Task,
  budget: CpuBudget,
): Promise<boolean> {
  const storage = `${settings.supabaseUrl}/storage/v1`;
  const copy = await MultipartConcatenation.open(
    supabase,
    storage,
    writing.object,
    writing.bytes,
    writing.upload_url,
  );
  // An upload that Storage no longer has starts over.
  let kept: ResumePoint = copy.offset < writing.at ? { at: 0, validator: null } : writing;
  const save = (seconds: number) =>
    task.save({ ...writing, at: kept.at, validator: kept.validator, upload_url: copy.url }, seconds);
  // Recorded immediately, so that a crash does not leave an unknown upload behind.
  if (copy.url !== writing.upload_url && !await save(task.leaseSeconds)) return false;

  const rows = new ConvertedRows();
  const validator = new Validator({ state: kept.validator, output: rows.output });
  let at = kept.at;
  let read = validator.offset;
  let savedAt = kept.at;
  let slice = 0;
  const pending: ResumePoint[] = [];
  const write = async () => {
    const bytes = rows.take();
    if (bytes === null) return;
    await copy.write(bytes, at);
    at += bytes.length;
  };
  for await (const chunk of task.read(read)) {
    const started = performance.now();
    validator.push(chunk);
    budget.spend(performance.now() - started);
    await write();
    read += chunk.length;
    slice += chunk.length;
    if (at >= (pending.at(-1) ?? kept).at + resumePointBytes) {
      pending.push({ at, validator: validator.state() });
    }
    // Storage takes bytes in steps of 6 MB: it can resume only from an offset that is already stored.
    for (let [first] = pending; first !== undefined && first.at <= copy.offset; [first] = pending) {
      kept = first;
      pending.shift();
    }
    const over = budget.isOver || isShuttingDown();
    if (kept.at === savedAt || slice < task.sliceBytes && !over) continue;
    if (!await save(over ? 0 : task.leaseSeconds) || over) return false;
    savedAt = kept.at;
    slice = 0;
  }
  if (read !== task.bytes) {
    throw unavailable(`reading ${writing.object}`, `received ${read} of ${task.bytes} bytes`);
  }
  validator.end();
  await write();
  if (at !== writing.bytes || copy.offset !== at) {
    throw unavailable(`writing ${writing.object}`, `wrote ${at} of ${writing.bytes} bytes`);
  }
  return true;
}

/** Starts the conversion of a valid file; null if another worker has taken it over. */
export async function startConversion(
  { db }: Platform,
  check: { file_id: string; lease: string },
  found: Pick<Writing, "bytes" | "sha256" | "result" | "summary">,
): Promise<Writing | null> {
  const { file_id, lease } = check;
  const object = await rpc(db, "start_file_conversion", { file_id, lease, bytes: found.bytes });
  return object === null ? null : { ...found, object, upload_url: null, at: 0, validator: null };
}
