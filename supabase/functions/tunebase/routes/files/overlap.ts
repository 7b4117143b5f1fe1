/** GET /files/{id}/overlap/{other_id}: compares the hashes of rows that validation stored, so files of any size are quick. */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import type { ApiContext } from "../../context.ts";
import { pathId, publicId } from "../../ids.ts";
import { defineRoute } from "../define.ts";

const Overlap = z.object({
  rows: z.int(),
  exact: z.boolean(),
  distinct_rows: z.int(),
  other_distinct_rows: z.int(),
});

async function getFileOverlap(c: ApiContext): Promise<Response> {
  const id = pathId("file", c.req.param("id"), "file_not_found");
  const other_id = pathId("file", c.req.param("other_id"), "file_not_found");
  const overlap = await rpc(
    c.get("platform").db,
    "get_file_overlap",
    { caller: c.get("caller"), id, other_id },
    Overlap,
  );
  return c.json({
    object: "file.overlap" as const,
    file: publicId("file", id),
    other_file: publicId("file", other_id),
    ...overlap,
  });
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/files/{id}/overlap/{other_id}",
    id: "getFileOverlap",
    summary: "Count the rows that two data files share",
    description:
      "Compares the files' rows byte for byte, after conversion. Exact up to 16,384 distinct rows per file, then estimated.",
    scope: "files:read",
    response: "FileOverlap",
    errors: ["file_not_found", "wrong_purpose", "file_not_ready"],
    handler: getFileOverlap,
  }),
];
