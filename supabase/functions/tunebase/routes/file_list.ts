/** GET /files?purpose&order&after&limit. The SDKs ask for up to 10,000 a page. */
import * as z from "zod";
import { call } from "../../_shared/database.ts";
import type { Tables } from "../../_shared/database.types.ts";
import { check } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { cursor } from "../ids.ts";
import { paging } from "../paging.ts";
import { type Page, renderFile, renderList } from "../render.ts";

export const Query = z.object({
  purpose: z.string().optional(),
  order: z.enum(["asc", "desc"]).default("desc"),
});

export async function listFiles(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query(), 10_000);
  const { purpose, order } = check(Query, c.req.query());
  const page = await call<Page<Tables<"files">>>(
    c.get("platform").sql,
    "list_files",
    { json: c.get("caller") },
    purpose ?? null,
    cursor("file", after),
    order === "asc",
    limit,
  );
  return c.json(renderList(page, renderFile));
}
