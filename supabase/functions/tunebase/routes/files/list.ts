/** GET /files?purpose&order&after&limit. The SDKs request pages of up to 10,000. */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { parseOrThrow } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { cursor } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderFile } from "../../serializers/fine_tuning.ts";
import { renderList } from "../../serializers/list.ts";
import { FileRow, page } from "../../rows.ts";
import { defineRoute } from "../define.ts";

export const Query = z.object({
  purpose: z.string().optional(),
  order: z.enum(["asc", "desc"]).default("desc"),
});

async function listFiles(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query(), 10_000);
  const { purpose, order } = parseOrThrow(Query, c.req.query());
  const found = await rpc(c.get("platform").db, "list_files", {
    caller: c.get("caller"),
    purpose: purpose ?? null,
    after: cursor("file", after),
    ascending: order === "asc",
    limit,
  }, page(FileRow));
  return c.json(renderList(found, renderFile));
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/files",
    id: "listFiles",
    summary: "List files",
    scope: "files:read",
    paging: 10_000,
    query: Query,
    response: "File[]",
    handler: listFiles,
  }),
];
