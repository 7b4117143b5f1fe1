/** GET /files?purpose&order&after&limit. The SDKs ask for up to 10,000 a page. */
import * as z from "zod";
import { rpc } from "../../_shared/database/rpc.ts";
import { check } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { cursor } from "../ids.ts";
import { paging } from "../paging.ts";
import { renderFile, renderList } from "../render.ts";
import { FileRow, page } from "../rows.ts";

export const Query = z.object({
  purpose: z.string().optional(),
  order: z.enum(["asc", "desc"]).default("desc"),
});

export async function listFiles(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query(), 10_000);
  const { purpose, order } = check(Query, c.req.query());
  const found = await rpc(c.get("platform").db, "list_files", {
    caller: c.get("caller"),
    purpose: purpose ?? null,
    after: cursor("file", after),
    ascending: order === "asc",
    limit,
  }, page(FileRow));
  return c.json(renderList(found, renderFile));
}
