/**
 * Validates large files in chunks: reads some MiB from Storage, saves its position in the database, and continues. A
 * function has 2 s of CPU time per request, so one tick validates a part and the next holder of the lease continues from
 * the saved position, also after a crash. The result depends only on the file's bytes, so reading a byte twice is safe.
 */
import { buckets } from "../../_shared/contracts/buckets.ts";
import * as z from "zod";
import { logError } from "../../_shared/log.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { type DatasetReport, sentence } from "../../_shared/datasets/report.ts";
import { Validator, type ValidatorState } from "../../_shared/datasets/validator.ts";
import { ApiError } from "../../_shared/errors.ts";
import { isShuttingDown } from "../../_shared/isolate.ts";
import type { Platform } from "../../_shared/platform.ts";
import { signedUrl, unavailable } from "../../_shared/storage.ts";
import { CpuBudget } from "../cpu_budget.ts";
import { ResumableHash } from "./resumable_hash.ts";
import { MultipartConcatenation } from "./concatenate_parts.ts";
import { ConvertedRows, hashRows, startConversion, writeRows, Writing } from "./write_rows.ts";

const HashState = z.object({ bytes: z.int(), sha256: z.string(), md5: z.string().nullable() });

const Validation = z.object({
  file_id: z.string(),
  lease: z.string(),
  object: z.string(),
  bytes: z.int(),
  sources: z.array(z.object({ object: z.string(), bytes: z.int() })),
  is_copied: z.boolean(),
  upload_url: z.string().nullable(),
  md5: z.string().nullable(),
  state: z.union([
    /** Validation is complete, and the converted rows are being written. */
    z.object({ writing: Writing }),
    z.object({
      writing: z.undefined().optional(),
      /** Written only by this module, and opaque to everything but the validator. */
      validator: z.custom<ValidatorState>((value) => typeof value === "object" && value !== null),
      hashes: HashState,
      /** Of the converted rows. */
      row_hashes: HashState,
    }),
  ]).nullable(),
});
type Validation = z.infer<typeof Validation>;

const leaseSeconds = 120;

/** Validates due files until the budget is used up. Returns how many files it worked on. */
export async function validateFiles(platform: Platform, budget = new CpuBudget()): Promise<number> {
  let count = 0;
  while (!budget.isOver && !isShuttingDown()) {
    const validation = await rpc(
      platform.db,
      "claim_file_validation",
      { lease_seconds: leaseSeconds },
      Validation.nullable(),
    );
    if (validation === null) return count;
    count += 1;
    try {
      await validateFile(platform, validation, budget);
    } catch (error) {
      logError(`validation of file ${validation.file_id}`, error);
      if (error instanceof ApiError && (error.code === "too_large" || error.code === "quota_exceeded")) {
        await rpc(platform.db, "finish_file_validation", {
          file_id: validation.file_id,
          lease: validation.lease,
          result: { status: "error", details: error.message, sha256: null },
        });
        continue;
      }
      const reason = error instanceof Error ? `${error.message} ${error.cause ?? ""}` : String(error);
      await rpc(platform.db, "retry_file_validation", {
        file_id: validation.file_id,
        lease: validation.lease,
        reason,
      });
    }
  }
  return count;
}

/** Continues one validation until it is complete or the budget is used up. */
async function validateFile(platform: Platform, validation: Validation, budget: CpuBudget): Promise<void> {
  const { state } = validation;
  if (state?.writing !== undefined) {
    return await writeConvertedRows(platform, validation, state.writing, budget);
  }
  const { db, supabase, settings } = platform;
  const rows = new ConvertedRows();
  const validator = new Validator({ state: state?.validator ?? null, output: rows.output });
  const hashes = await ResumableHash.start(state?.hashes ?? null, validation.md5 !== null);
  const rowHashes = await ResumableHash.start(state?.row_hashes ?? null, false);
  const storage = `${settings.supabaseUrl}/storage/v1`;
  const copy = validation.is_copied
    ? await MultipartConcatenation.open(
      supabase,
      storage,
      validation.object,
      validation.bytes,
      validation.upload_url,
    )
    : null;
  const save = (seconds: number) =>
    rpc(db, "checkpoint_file_validation", {
      file_id: validation.file_id,
      lease: validation.lease,
      state: { validator: validator.state(), hashes: hashes.state, row_hashes: rowHashes.state },
      upload_url: copy?.url ?? validation.upload_url,
      lease_seconds: seconds,
    });
  // At once, so that a crash does not leave an unknown copy behind.
  if (copy !== null && copy.url !== validation.upload_url && !await save(leaseSeconds)) return;

  const unchecked = validator.offset;
  const begin = Math.min(unchecked, copy?.offset ?? Infinity);
  let savedCopyOffset = copy?.offset ?? 0;
  let at = begin;
  let slice = 0;
  for await (const chunk of read(supabase, validation.sources, begin, settings.validationChunkBytes)) {
    const started = performance.now();
    // The validator needs every byte from its offset on: it has not saved the start of an unfinished row.
    if (at + chunk.length > unchecked) validator.push(chunk.subarray(Math.max(0, unchecked - at)));
    hashes.update(chunk, at);
    hashRows(rows, rowHashes);
    budget.spend(performance.now() - started);
    await copy?.write(chunk, at);
    at += chunk.length;
    slice += chunk.length;
    if (validator.stopped) break;
    // Save only after progress: a row can be longer than a chunk, and a copy advances in steps of its own.
    const advanced = validator.offset > unchecked || at === validation.bytes;
    const over = (budget.isOver || isShuttingDown()) && at < validation.bytes;
    if (slice < settings.validationChunkBytes && !over) continue;
    if (!advanced || copy !== null && copy.offset === savedCopyOffset) continue;
    if (!await save(over ? 0 : leaseSeconds) || over) return;
    slice = 0;
    savedCopyOffset = copy?.offset ?? 0;
  }
  if (!validator.stopped && at !== validation.bytes) {
    throw unavailable(`reading ${validation.object}`, `received ${at} of ${validation.bytes} bytes`);
  }
  const complete = at === validation.bytes;
  const { sha256, md5 } = hashes.digest();
  const report = validator.end();
  hashRows(rows, rowHashes);
  const result = {
    ...verdict(
      report,
      complete && validation.md5 !== null && md5 !== validation.md5
        ? { actual: md5, expected: validation.md5 }
        : null,
    ),
    sha256: complete ? sha256 : null,
    rows: validator.sample(),
  };
  const summary = validator.conversion;
  if (result.status === "error" || summary === null) {
    await rpc(db, "finish_file_validation", {
      file_id: validation.file_id,
      lease: validation.lease,
      result,
    });
    return;
  }
  const writing = await startConversion(platform, validation, {
    bytes: rowHashes.bytes,
    sha256: rowHashes.digest().sha256,
    result,
    summary,
  });
  if (writing !== null) await writeConvertedRows(platform, validation, writing, budget);
}

/** Writes the converted rows of a valid file, and then completes the validation. */
async function writeConvertedRows(
  platform: Platform,
  validation: Validation,
  writing: Writing,
  budget: CpuBudget,
): Promise<void> {
  const { db, supabase, settings } = platform;
  const { file_id, lease } = validation;
  const save = (state: Writing, seconds: number) =>
    rpc(db, "checkpoint_file_validation", {
      file_id,
      lease,
      state: { writing: state },
      upload_url: validation.upload_url,
      lease_seconds: seconds,
    });
  if (budget.isOver) {
    await save(writing, 0);
    return;
  }
  const isComplete = await writeRows(platform, writing, {
    bytes: validation.bytes,
    sliceBytes: settings.validationChunkBytes,
    leaseSeconds,
    read: (begin) => read(supabase, validation.sources, begin, settings.validationChunkBytes),
    save,
  }, budget);
  if (!isComplete) return;
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

/** The file's new status, and why. */
function verdict(
  report: DatasetReport,
  md5Mismatch: { actual: string | null; expected: string } | null,
): { status: "processed" | "error"; details: string | null; report: DatasetReport } {
  if (md5Mismatch !== null) {
    return {
      status: "error",
      details:
        `The file's MD5 is ${md5Mismatch.actual}, but ${md5Mismatch.expected} was expected: the upload was corrupted. Upload it again.`,
      report,
    };
  }
  const [first] = report.errors;
  if (first === undefined) return { status: "processed", details: null, report };
  const rows = report.error_rows === 0
    ? ""
    : `${report.error_rows}${report.complete ? "" : " or more"} ${
      report.error_rows === 1 ? "row is" : "rows are"
    } invalid. `;
  const where = first.line === null ? "The file" : `Line ${first.line}:`;
  return { status: "error", details: `${rows}${where} ${sentence(first)}`, report };
}

/** Reads the concatenated sources from `begin` on, in range requests of at most `max` bytes. */
async function* read(
  supabase: Platform["supabase"],
  sources: Validation["sources"],
  begin: number,
  max: number,
): AsyncGenerator<Uint8Array> {
  let start = 0;
  for (const { object, bytes } of sources) {
    let from = Math.max(0, begin - start);
    start += bytes;
    if (from >= bytes) continue;
    const url = await signedUrl(supabase, buckets.datasets, object, 600);
    while (from < bytes) {
      const to = Math.min(bytes, from + max);
      const response = await fetch(url, { headers: { range: `bytes=${from}-${to - 1}` } });
      if (response.status !== 206 || response.body === null) {
        throw unavailable(`reading ${object}`, `${response.status} ${await response.text()}`);
      }
      for await (const chunk of response.body) {
        from += chunk.length;
        yield chunk;
      }
      if (from < to) throw unavailable(`reading ${object}`, "the response was truncated");
    }
  }
}
