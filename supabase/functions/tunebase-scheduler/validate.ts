/**
 * Checks large files in slices: reads some MiB from Storage, keeps the place in the database, goes on. A function has 2 s of
 * CPU time a request, so a step does a part and asks for the next; whoever takes the lease goes on at the kept place, after
 * a crash too. Everything here is a function of the file's bytes: a byte that is read again changes nothing.
 */
import * as z from "zod";
import { logError } from "../_shared/log.ts";
import { rpc } from "../_shared/database/rpc.ts";
import { type DatasetReport, sentence } from "../_shared/datasets/report.ts";
import { Validator, type ValidatorState } from "../_shared/datasets/validator.ts";
import { ApiError } from "../_shared/errors.ts";
import { isLeaving } from "../_shared/isolate.ts";
import type { Platform } from "../_shared/platform.ts";
import { signedUrl, unavailable } from "../_shared/storage.ts";
import { beginWriting, ConvertedRows, hashRows, writeRows, Writing } from "./converted_copy.ts";
import { CpuBudget } from "./cpu_budget.ts";
import { FileHashes } from "./hashes.ts";
import { JoinedCopy } from "./joined_copy.ts";

const Hashes = z.object({ bytes: z.int(), sha256: z.string(), md5: z.string().nullable() });
const Check = z.object({
  file_id: z.string(),
  lease: z.string(),
  object: z.string(),
  bytes: z.int(),
  sources: z.array(z.object({ object: z.string(), bytes: z.int() })),
  is_copied: z.boolean(),
  upload_url: z.string().nullable(),
  md5: z.string().nullable(),
  state: z.union([
    z.object({ writing: Writing }),
    z.object({
      writing: z.undefined().optional(),
      /** Only this module writes it (`save_check`), and only the validator knows what is in it. */
      validator: z.custom<ValidatorState>((value) => typeof value === "object" && value !== null),
      hashes: Hashes,
      /** Of the rows that the file is converted to. */
      row_hashes: Hashes,
    }),
  ]).nullable(),
});
type Check = z.infer<typeof Check>;

const leaseSeconds = 120;

/** Checks what is due, until the budget is spent; returns how many files it was at. */
export async function validateFiles(platform: Platform, budget = new CpuBudget()): Promise<number> {
  let count = 0;
  while (!budget.isOver && !isLeaving()) {
    const check = await rpc(
      platform.db,
      "claim_file_validation",
      { lease_seconds: leaseSeconds },
      Check.nullable(),
    );
    if (check === null) return count;
    count += 1;
    try {
      await checkFile(platform, check, budget);
    } catch (error) {
      logError(`check of file ${check.file_id}`, error);
      if (error instanceof ApiError && (error.code === "too_large" || error.code === "quota_exceeded")) {
        await rpc(platform.db, "finish_file_validation", {
          file_id: check.file_id,
          lease: check.lease,
          result: { status: "error", details: error.message, sha256: null },
        });
        continue;
      }
      const reason = error instanceof Error ? `${error.message} ${error.cause ?? ""}` : String(error);
      await rpc(platform.db, "retry_file_validation", { file_id: check.file_id, lease: check.lease, reason });
    }
  }
  return count;
}

/** Goes on with one check until it ends, or the budget does. */
async function checkFile(platform: Platform, check: Check, budget: CpuBudget): Promise<void> {
  if (check.state?.writing !== undefined) return await write(platform, check, check.state.writing, budget);
  const { db, supabase, settings } = platform;
  const rows = new ConvertedRows();
  const validator = new Validator({ state: check.state?.validator ?? null, output: rows.output });
  const hashes = await FileHashes.start(check.state?.hashes ?? null, check.md5 !== null);
  const rowHashes = await FileHashes.start(check.state?.row_hashes ?? null, false);
  const storage = `${settings.supabaseUrl}/storage/v1`;
  const copy = check.is_copied
    ? await JoinedCopy.open(supabase, storage, check.object, check.bytes, check.upload_url)
    : null;
  const save = (seconds: number) =>
    rpc(db, "checkpoint_file_validation", {
      file_id: check.file_id,
      lease: check.lease,
      state: { validator: validator.state(), hashes: hashes.state, row_hashes: rowHashes.state },
      upload_url: copy?.url ?? check.upload_url,
      lease_seconds: seconds,
    });
  // At once, so that a crash does not leave a copy behind that nobody knows.
  if (copy !== null && copy.url !== check.upload_url && !await save(leaseSeconds)) return;

  const unchecked = validator.offset;
  const begin = Math.min(unchecked, copy?.offset ?? Infinity);
  let keptCopy = copy?.offset ?? 0;
  let at = begin;
  let slice = 0;
  for await (const chunk of read(supabase, check.sources, begin, settings.checkSliceBytes)) {
    const started = performance.now();
    // The validator holds what it has read of an unfinished row, so it takes every byte from its offset on.
    if (at + chunk.length > unchecked) validator.push(chunk.subarray(Math.max(0, unchecked - at)));
    hashes.update(chunk, at);
    hashRows(rows, rowHashes);
    budget.spend(performance.now() - started);
    await copy?.write(chunk, at);
    at += chunk.length;
    slice += chunk.length;
    if (validator.stopped) break;
    // A place is worth keeping when it is further on: a row may be longer than a slice, and a copy goes in its own steps.
    const cameOn = validator.offset > unchecked || at === check.bytes;
    const over = (budget.isOver || isLeaving()) && at < check.bytes;
    if (slice < settings.checkSliceBytes && !over) continue;
    if (!cameOn || copy !== null && copy.offset === keptCopy) continue;
    if (!await save(over ? 0 : leaseSeconds) || over) return;
    slice = 0;
    keptCopy = copy?.offset ?? 0;
  }
  if (!validator.stopped && at !== check.bytes) {
    throw unavailable(`reading ${check.object}`, `${at} bytes came of ${check.bytes}`);
  }
  const complete = at === check.bytes;
  const { sha256, md5 } = hashes.digest();
  const report = validator.end();
  hashRows(rows, rowHashes);
  const result = {
    ...verdict(report, complete && check.md5 !== null && md5 !== check.md5 ? { md5, said: check.md5 } : null),
    sha256: complete ? sha256 : null,
    rows: validator.sample(),
  };
  const summary = validator.conversion;
  if (result.status === "error" || summary === null) {
    await rpc(db, "finish_file_validation", { file_id: check.file_id, lease: check.lease, result });
    return;
  }
  const writing = await beginWriting(platform, check, {
    bytes: rowHashes.bytes,
    sha256: rowHashes.digest().sha256,
    result,
    summary,
  });
  if (writing !== null) await write(platform, check, writing, budget);
}

/** Writes the rows of a file in another format, whose check has ended; then the file is processed. */
async function write(platform: Platform, check: Check, writing: Writing, budget: CpuBudget): Promise<void> {
  const { db, supabase, settings } = platform;
  const { file_id, lease } = check;
  const save = (state: Writing, seconds: number) =>
    rpc(db, "checkpoint_file_validation", {
      file_id,
      lease,
      state: { writing: state },
      upload_url: check.upload_url,
      lease_seconds: seconds,
    });
  if (budget.isOver) return void await save(writing, 0);
  const isWritten = await writeRows(platform, writing, {
    bytes: check.bytes,
    sliceBytes: settings.checkSliceBytes,
    leaseSeconds,
    read: (begin) => read(supabase, check.sources, begin, settings.checkSliceBytes),
    save,
  }, budget);
  if (!isWritten) return;
  const { source_format, ...conversion } = writing.summary;
  await rpc(db, "finish_file_validation", {
    file_id,
    lease,
    result: {
      ...writing.result,
      converted: { bytes: writing.bytes, sha256: writing.sha256, source_format, conversion },
    },
  });
}

/** What a file becomes, and why. */
function verdict(
  report: DatasetReport,
  differs: { md5: string | null; said: string } | null,
): { status: "processed" | "error"; details: string | null; report: DatasetReport } {
  if (differs !== null) {
    return {
      status: "error",
      details:
        `The file's MD5 is ${differs.md5}, and ${differs.said} was announced: it changed on its way. Upload it again.`,
      report,
    };
  }
  const [first] = report.errors;
  if (first === undefined) return { status: "processed", details: null, report };
  const rows = report.error_rows === 0
    ? ""
    : `${report.error_rows}${report.complete ? "" : " or more"} of its rows cannot be trained on. `;
  const where = first.line === null ? "The file" : `Line ${first.line}:`;
  return { status: "error", details: `${rows}${where} ${sentence(first)}`, report };
}

/** The bytes of the sources, one after the other, from `begin` on; each request asks for a range of about `most`. */
async function* read(
  supabase: Platform["supabase"],
  sources: Check["sources"],
  begin: number,
  most: number,
): AsyncGenerator<Uint8Array> {
  let start = 0;
  for (const { object, bytes } of sources) {
    let from = Math.max(0, begin - start);
    start += bytes;
    if (from >= bytes) continue;
    const url = await signedUrl(supabase, "tunebase-datasets", object, 600);
    while (from < bytes) {
      const to = Math.min(bytes, from + most);
      const response = await fetch(url, { headers: { range: `bytes=${from}-${to - 1}` } });
      if (response.status !== 206 || response.body === null) {
        throw unavailable(`reading ${object}`, `${response.status} ${await response.text()}`);
      }
      for await (const chunk of response.body) {
        from += chunk.length;
        yield chunk;
      }
      if (from < to) throw unavailable(`reading ${object}`, "the answer was cut off");
    }
  }
}
