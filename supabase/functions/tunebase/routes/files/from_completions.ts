/** POST /files/from_completions: stored chat completions as a training file. */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { sanitizeFilename } from "../../file_upload.ts";
import { uuid7 } from "../../ids.ts";
import { maxInRequestBytes } from "../../incoming_file.ts";
import { recordFile, reserveObject, storeObject } from "../../new_file.ts";
import { renderFile } from "../../serializers/fine_tuning.ts";
import { defineRoute } from "../define.ts";

/** Several copies are in memory at once. */
const maxBytes = 16 * 2 ** 20;
const time = z.number("must be a timestamp in Unix seconds").min(0).max(4_102_444_800).optional();

export const Body = strictObject({
  model: z.string().optional().describe("Only answers of this model"),
  metadata: z.record(z.string(), z.string()).optional().describe("Only requests with this metadata"),
  after: time.describe("Only completions from this time on, in Unix seconds"),
  before: time.describe("Only completions before this time, in Unix seconds"),
  limit: z.int().min(1).max(10_000).default(10_000).describe(
    "The maximum number of completions; the newest are used",
  ),
  filename: z.string().min(1).max(255).default("completions.jsonl"),
});

async function createFromCompletions(c: ApiContext): Promise<Response> {
  const { model, metadata, after, before, limit, filename } = parseOrThrow(Body, await jsonBody(c.req));
  const text = await rpc(c.get("platform").db, "export_completions", {
    caller: c.get("caller"),
    filter: { model, metadata, created_after: after, created_before: before },
    limit,
    max_bytes: maxBytes,
  });
  const bytes = new TextEncoder().encode(text);
  const file = {
    id: uuid7(),
    filename: sanitizeFilename(filename),
    purpose: "fine-tune",
    expires_after: null,
  };
  if (bytes.length <= maxInRequestBytes) {
    return c.json(renderFile(await recordFile(c, file, { kind: "whole", filename, bytes })));
  }
  const object = await reserveObject(c, file.id, bytes.length);
  await storeObject(c, object, bytes);
  return c.json(
    renderFile(await recordFile(c, file, { kind: "stored", filename, object, size: bytes.length })),
  );
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/files/from_completions",
    id: "createFileFromCompletions",
    summary: "Create a training file from stored chat completions",
    description:
      "Each completion becomes a chat row: its messages (`developer` as `system`), its tools and the first choice. Truncated " +
      "answers are omitted, and so are the oldest completions if the file would exceed 16 MiB.",
    scope: "files:write",
    body: Body,
    example: { model: "ft:SmolLM2-135M-Instruct:acme:support:0f1e2d3c", metadata: { rating: "good" } },
    response: "File",
    errors: ["no_completions_found", "invalid_file", "quota_exceeded", "project_archived"],
    handler: createFromCompletions,
  }),
];
