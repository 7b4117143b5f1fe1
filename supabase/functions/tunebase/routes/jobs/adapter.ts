/**
 * GET /fine_tuning/jobs/{id}/adapter and …/checkpoints/{id}/adapter: the files of an adapter, laid out for PEFT and vLLM,
 * each with a download URL.
 */
import { buckets } from "../../../_shared/contracts/buckets.ts";
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ArtifactFile, Manifest } from "../../../_shared/protocol.ts";
import { signFiles } from "../../../_shared/storage.ts";
import type { ApiContext } from "../../context.ts";
import { pathId, publicId } from "../../ids.ts";
import { renderCheckpoint } from "../../serializers/fine_tuning.ts";
import { AdapterRow, CheckpointRow } from "../../rows.ts";
import { defineRoute } from "../define.ts";

/** A download continues after its URL has expired. */
const urlSeconds = 900;
const CheckpointWithPrefix = CheckpointRow.extend({ prefix: z.string() });

async function getAdapter(c: ApiContext): Promise<Response> {
  const id = pathId("job", c.req.param("id"), "job_not_found");
  const args = { caller: c.get("caller"), job_id: id };
  const row = await rpc(c.get("platform").db, "get_adapter", args, AdapterRow);
  const manifest = Manifest.parse(row.manifest);
  return c.json({
    object: "fine_tuning.job.adapter" as const,
    job_id: publicId("job", id),
    fine_tuned_model: row.name,
    created_at: Math.floor(Date.parse(row.created_at) / 1000),
    format: manifest.format,
    base_model: row.base_model,
    base_source: manifest.base_model,
    base_revision: manifest.base_revision,
    total_bytes: row.bytes,
    files: await withDownloadUrls(c, row.prefix, manifest.files),
    manifest,
  });
}

async function getCheckpointAdapter(c: ApiContext): Promise<Response> {
  const id = pathId("job", c.req.param("id"), "job_not_found");
  const row = await rpc(c.get("platform").db, "get_checkpoint", {
    caller: c.get("caller"),
    job_id: id,
    checkpoint_id: pathId("checkpoint", c.req.param("checkpoint"), "checkpoint_not_found"),
  }, CheckpointWithPrefix);
  const files = await withDownloadUrls(c, row.prefix, z.array(ArtifactFile).parse(row.files));
  const below = `checkpoints/${row.step}/`;
  const { id: checkpoint_id, fine_tuned_model_checkpoint, step_number } = renderCheckpoint(row);
  return c.json({
    object: "fine_tuning.job.checkpoint.adapter" as const,
    job_id: publicId("job", id),
    checkpoint_id,
    fine_tuned_model_checkpoint,
    step_number,
    base_model: row.model,
    total_bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    files: files.map((file) => ({ ...file, path: file.path.replace(below, "") })),
  });
}

async function withDownloadUrls(c: ApiContext, prefix: string, files: ArtifactFile[]) {
  const expires_at = Math.floor(Date.now() / 1000) + urlSeconds;
  const signed = await signFiles(c.get("platform").supabase, buckets.adapters, prefix, files, urlSeconds);
  return signed.map(({ url, ...file }) => {
    const download = new URL(url);
    // The file name of the attachment, not part of the signature. Includes the folder, because merged/tokenizer.json and
    // tokenizer.json would have the same name.
    download.searchParams.set("download", file.path.replace(/^checkpoints\/\d+\//, "").replaceAll("/", "-"));
    return { ...file, url: download.href, expires_at };
  });
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/fine_tuning/jobs/{id}/checkpoints/{checkpoint}/adapter",
    id: "getCheckpointAdapter",
    summary: "Get a checkpoint's manifest and download links",
    scope: "jobs:read",
    response: "CheckpointAdapter",
    errors: ["job_not_found", "checkpoint_not_found"],
    handler: getCheckpointAdapter,
  }),
  defineRoute({
    method: "GET",
    path: "/fine_tuning/jobs/{id}/adapter",
    id: "getAdapter",
    summary: "Get the adapter's manifest and download links",
    scope: "jobs:read",
    response: "Adapter",
    errors: ["job_not_found", "adapter_not_ready", "adapter_deleted"],
    handler: getAdapter,
  }),
];
