/** POST /evaluations: compares models over the rows of a file. */
import * as z from "zod";
import { Grader, maxGraders } from "../../../_shared/contracts/graders.ts";
import { limits } from "../../../_shared/contracts/limits.ts";
import { findPatternProblem } from "../../../_shared/contracts/patterns.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { cleanJson } from "../../../_shared/text.ts";
import { wakeScheduler } from "../../../_shared/wake_scheduler.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { chooseRows, maxFileBytes } from "../../evaluations/file_rows.ts";
import { parseId, prefixes, publicId } from "../../ids.ts";
import { EvaluationRow, FileRow } from "../../rows.ts";
import { renderEvaluation } from "../../serializers/evaluations.ts";
import { defineRoute } from "../define.ts";

const maxModels = 4;

export const Body = strictObject({
  models: z.array(z.string().min(1).max(300)).min(1, "must name at least one model").max(
    maxModels,
    `must name at most ${maxModels} models`,
  ).refine((models) => new Set(models).size === models.length, "must not name a model twice")
    .meta({ uniqueItems: true }),
  file: z.string().refine(
    (id) => parseId("file", id) !== null,
    `must be the id of an uploaded file (${prefixes.file}…). Upload one with POST /files.`,
  ),
  name: z.string().min(1).max(100).optional(),
  max_rows: z.int().min(1).max(1000).default(200),
  graders: z.array(Grader).max(maxGraders).default([]),
  temperature: z.number().min(0).max(2).default(0),
  max_completion_tokens: z.int().min(1).max(8192).default(512),
  seed: z.int().min(0).max(2 ** 31 - 1).default(0),
  metadata: z.record(z.string().max(limits.metadataKeyLength), z.string().max(limits.metadataValueLength))
    .refine(
      (metadata) => Object.keys(metadata).length <= limits.metadataKeys,
      `must have at most ${limits.metadataKeys} keys`,
    ).default({}),
});

async function createEvaluation(c: ApiContext): Promise<Response> {
  const { db, supabase, settings, waitUntil } = c.get("platform");
  const body = parseOrThrow(Body, await jsonBody(c.req));
  await checkPatterns(body.graders);
  const caller = c.get("caller");
  const file = await rpc(db, "get_evaluation_file", { caller, id: parseId("file", body.file) }, FileRow);
  const fileRows = checkFile(file);
  const rows = await chooseRows(supabase, file.object, fileRows, body.max_rows);
  if (rows.length === 0) {
    throw invalidFile(`file: none of its rows has a prompt and an answer.`);
  }
  const { models, graders, temperature, max_completion_tokens, seed, metadata } = body;
  const row = await rpc(db, "create_evaluation", {
    caller,
    evaluation: {
      name: body.name ?? file.filename.slice(0, 100),
      file_id: file.id,
      models,
      graders,
      sampling: { temperature, max_completion_tokens, seed },
      metadata,
      file_rows: fileRows,
      rows: cleanJson(rows), // a file's texts may contain NUL, which Postgres cannot store
    },
  }, EvaluationRow);
  waitUntil(wakeScheduler(settings));
  return c.json(renderEvaluation(row), 201);
}

/** Throws if a pattern is not a valid RE2 expression. */
async function checkPatterns(graders: Grader[]): Promise<void> {
  for (const [index, grader] of graders.entries()) {
    if (grader.type !== "regex") continue;
    const problem = await findPatternProblem(grader.pattern);
    if (problem === null) continue;
    const param = `graders.${index}.pattern`;
    throw new ApiError("invalid_request", [{
      param,
      value: grader.pattern,
      message: `${param} = ${JSON.stringify(grader.pattern)}: ${problem}.`,
    }]);
  }
}

/** The number of its rows. */
function checkFile(file: FileRow): number {
  if (file.purpose !== "fine-tune") {
    throw ApiError.of("wrong_purpose", { param: "file", purpose: file.purpose });
  }
  if (file.status !== "processed") {
    throw ApiError.of("file_not_ready", {
      param: "file",
      id: publicId("file", file.id),
      status: file.status,
    });
  }
  if (file.bytes > maxFileBytes) {
    throw invalidFile(
      `file: is ${file.bytes} bytes long; evaluations read files of up to ${maxFileBytes} bytes. Upload a subset of it.`,
    );
  }
  const report = Report.parse(file.report);
  if (report.format === "preference") {
    throw invalidFile(
      "file: has preference rows, which have no single correct answer. Use a file with chat rows.",
    );
  }
  return report.rows;
}

const Report = z.looseObject({ format: z.string().nullable(), rows: z.int().min(1) });

const invalidFile = (message: string) => new ApiError("invalid_request", [{ param: "file", message }]);

export const routes = [
  defineRoute({
    method: "POST",
    path: "/evaluations",
    id: "createEvaluation",
    summary: "Compare models over the rows of a file",
    description:
      "Sends the prompt of each chosen row to each model, and compares the answer with the row's last assistant message. Exact " +
      "match is always scored; JSON answers and tool calls are also scored for validity and correct fields. Runs in the background; " +
      "requests are billed as chat completions.",
    scope: "inference",
    idempotency: "in_sql",
    body: Body,
    example: {
      models: ["ft:SmolLM2-135M-Instruct:acme:support:0192f5c8", "SmolLM2-135M-Instruct"],
      file: "file-0192f5c8a1b27c3d8e4f5a6b7c8d9e0f",
      graders: [{ type: "contains", value: "refund", ignore_case: true }],
    },
    response: {
      201: { description: "The evaluation has started", content: { "application/json": "Evaluation" } },
    },
    errors: [
      "model_not_found",
      "model_not_servable",
      "file_not_found",
      "file_not_ready",
      "wrong_purpose",
      "quota_exceeded",
      "project_archived",
    ],
    handler: createEvaluation,
  }),
];
