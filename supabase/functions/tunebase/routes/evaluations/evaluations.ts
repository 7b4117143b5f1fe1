/** /evaluations: reading, canceling and deleting evaluations, and their rows with each model's answer. */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { parseOrThrow } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { cursor, parseId, pathId, prefixes, publicId } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { EvaluatedRow, EvaluationRow, page } from "../../rows.ts";
import { renderEvaluatedRow, renderEvaluation } from "../../serializers/evaluations.ts";
import { renderList } from "../../serializers/list.ts";
import { defineRoute } from "../define.ts";

const Query = z.object({
  model: z.string().optional(),
  file: z.string().refine((id) => parseId("file", id) !== null, `must be an id such as ${prefixes.file}…`)
    .transform((id) => parseId("file", id)).optional(),
});

async function listEvaluations(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const { model, file } = parseOrThrow(Query, c.req.query());
  const found = await rpc(c.get("platform").db, "list_evaluations", {
    caller: c.get("caller"),
    after: cursor("evaluation", after),
    limit,
    filter: { model, file_id: file },
  }, page(EvaluationRow));
  return c.json(renderList(found, renderEvaluation));
}

async function getEvaluation(c: ApiContext): Promise<Response> {
  const args = { caller: c.get("caller"), id: evaluationId(c) };
  return c.json(renderEvaluation(await rpc(c.get("platform").db, "get_evaluation", args, EvaluationRow)));
}

async function cancelEvaluation(c: ApiContext): Promise<Response> {
  const args = { caller: c.get("caller"), id: evaluationId(c) };
  return c.json(renderEvaluation(await rpc(c.get("platform").db, "cancel_evaluation", args, EvaluationRow)));
}

async function deleteEvaluation(c: ApiContext): Promise<Response> {
  const id = evaluationId(c);
  await rpc(c.get("platform").db, "delete_evaluation", { caller: c.get("caller"), id });
  return c.json({ id: publicId("evaluation", id), object: "evaluation" as const, deleted: true });
}

/** Pages by line: `after` is the id of a row, `evalrow_<line>`. */
async function listEvaluationRows(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const line = after === undefined || after === ""
    ? null
    : Number(/^evalrow_([1-9]\d{0,8})$/.exec(after)?.[1]);
  if (Number.isNaN(line)) throw ApiError.of("cursor_not_found", { param: "after" });
  const found = await rpc(c.get("platform").db, "list_evaluation_rows", {
    caller: c.get("caller"),
    id: evaluationId(c),
    after: line,
    limit,
  }, page(EvaluatedRow));
  return c.json(renderList(found, renderEvaluatedRow));
}

const evaluationId = (c: ApiContext) => pathId("evaluation", c.req.param("id"), "evaluation_not_found");

export const routes = [
  defineRoute({
    method: "GET",
    path: "/evaluations",
    id: "listEvaluations",
    summary: "List evaluations",
    scope: "models:read",
    paging: 100,
    query: Query,
    response: "Evaluation[]",
    handler: listEvaluations,
  }),
  defineRoute({
    method: "GET",
    path: "/evaluations/{id}",
    id: "getEvaluation",
    summary: "Get an evaluation with each model's totals",
    scope: "models:read",
    response: "Evaluation",
    errors: ["evaluation_not_found"],
    handler: getEvaluation,
  }),
  defineRoute({
    method: "GET",
    path: "/evaluations/{id}/rows",
    id: "listEvaluationRows",
    summary: "List an evaluation's rows with the models' answers",
    scope: "models:read",
    paging: 100,
    response: "EvaluationRow[]",
    errors: ["evaluation_not_found"],
    handler: listEvaluationRows,
  }),
  defineRoute({
    method: "POST",
    path: "/evaluations/{id}/cancel",
    id: "cancelEvaluation",
    summary: "Cancel an evaluation; its answers are kept",
    scope: "inference",
    response: "Evaluation",
    errors: ["evaluation_not_found", "project_archived"],
    handler: cancelEvaluation,
  }),
  defineRoute({
    method: "DELETE",
    path: "/evaluations/{id}",
    id: "deleteEvaluation",
    summary: "Delete an evaluation and its answers",
    scope: "inference",
    response: "Deleted",
    errors: ["evaluation_not_found", "project_archived"],
    handler: deleteEvaluation,
  }),
];
