/** An object as a response: complete, a range, or "not modified". Streamed from disk. */
import { StorageError } from "./errors.ts";
import type { ObjectRow, Objects } from "./objects.ts";

/** GET or HEAD of an object. `download` names the attachment. */
export async function serveObject(
  objects: Objects,
  row: ObjectRow,
  request: Request,
  download: string | null,
): Promise<Response> {
  const { size, mimetype, eTag } = row.metadata;
  const headers = new Headers({
    "content-type": mimetype,
    "etag": eTag,
    "accept-ranges": "bytes",
    "cache-control": "no-cache",
    "last-modified": row.updated_at.toUTCString(),
  });
  if (download !== null) {
    const name = download || row.name.split("/").at(-1) || "download";
    headers.set("content-disposition", `attachment; filename*=UTF-8''${encodeURIComponent(name)};`);
  }
  if (request.headers.get("if-none-match") === eTag) return new Response(null, { status: 304, headers });

  const [start, end] = range(request.headers.get("range"), size) ?? [0, size - 1];
  const partial = request.headers.has("range");
  if (partial) headers.set("content-range", `bytes ${start}-${end}/${size}`);
  headers.set("content-length", String(end - start + 1));
  if (request.method === "HEAD") return new Response(null, { status: partial ? 206 : 200, headers });

  const file = await Deno.open(objects.path(row.version));
  await file.seek(start, Deno.SeekMode.Start);
  let left = end - start + 1;
  const cut = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      controller.enqueue(chunk.subarray(0, left));
      left -= Math.min(left, chunk.length);
      if (left === 0) controller.terminate();
    },
  });
  return new Response(partial ? file.readable.pipeThrough(cut) : file.readable, {
    status: partial ? 206 : 200,
    headers,
  });
}

function range(header: string | null, size: number): [number, number] | null {
  if (header === null) return null;
  const match = /^bytes=(\d*)-(\d*)$/.exec(header);
  const [, from = "", to = ""] = match ?? [];
  const start = from === "" ? Math.max(0, size - Number(to)) : Number(from);
  const end = from === "" || to === "" ? size - 1 : Math.min(Number(to), size - 1);
  if (match === null || (from === "" && to === "") || start > end || start >= size) {
    throw new StorageError("InvalidRange");
  }
  return [start, end];
}
