/** Files and uploads. */
import * as z from "zod";
import { filePurposes, fileStatuses, uploadStatuses } from "../../../_shared/contracts/statuses.ts";
import { DatasetReport } from "../dataset_report.ts";
import { count, id, stored, time, word } from "./fields.ts";

const Conversion = z.object({
  rows: count,
  ignored_fields: z.array(z.string()),
  sample: z.array(z.object({ line: z.int().min(1), before: z.string(), after: z.string() })).optional()
    .describe(
      "The first three rows, as JSON that may be truncated; omitted in lists",
    ),
}).loose();

export const File = z.object({
  id: id("file-"),
  object: z.literal("file"),
  bytes: count,
  created_at: time,
  expires_at: time.nullable(),
  filename: z.string(),
  purpose: word(...filePurposes),
  status: word(...fileStatuses).describe("`uploaded`: validation is in progress"),
  status_details: z.string().nullable(),
  sha256: z.string().nullable(),
  report: stored(DatasetReport.nullable()).describe(
    "The validation report; null until validation is complete",
  ),
  source_format: z.string().nullable().meta({ examples: ["alpaca_csv", "prompt_completion_jsonl"] }).describe(
    "The row format and the container that the file was converted from; null: not converted",
  ),
  conversion: stored(Conversion.nullable()).describe("A summary of the conversion; null: not converted"),
}).meta({ id: "File" });
export type File = z.infer<typeof File>;

export const FileOverlap = z.object({
  object: z.literal("file.overlap"),
  file: id("file-"),
  other_file: id("file-"),
  rows: count.describe("Distinct rows that both files have"),
  exact: z.boolean().describe("false: the counts are estimated from a sample of both files' rows"),
  distinct_rows: count.describe("Distinct rows of `file`"),
  other_distinct_rows: count.describe("Distinct rows of `other_file`"),
}).meta({ id: "FileOverlap" });

export const Upload = z.object({
  id: id("upload_"),
  object: z.literal("upload"),
  bytes: count,
  created_at: time,
  expires_at: time,
  filename: z.string(),
  purpose: word("fine-tune"),
  status: word(...uploadStatuses),
  file: File.nullable(),
}).meta({ id: "Upload" });
export type Upload = z.infer<typeof Upload>;

export const DirectUpload = Upload.extend({
  target: z.object({
    endpoint: z.url().describe("A TUS 1.0 endpoint. Send `x-signature: {token}` with every request"),
    bucket: z.string(),
    object: z.string(),
    token: z.string(),
    content_type: z.string(),
    chunk_bytes: count,
  }).nullable().describe("Where to upload the file; null once the upload is no longer pending"),
}).meta({ id: "DirectUpload" });

export const UploadPart = z.object({
  id: id("part_"),
  object: z.literal("upload.part"),
  created_at: time,
  upload_id: id("upload_"),
}).meta({ id: "UploadPart" });
