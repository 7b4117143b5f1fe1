/**
 * Emulates Supabase Storage: the wire behavior of objects, signed URLs, ranges, signed and resumable uploads, and
 * its errors. Differs: no image transformations, S3 protocol or public buckets; a user's token grants no access, as
 * with row-level security and no policy.
 */
import { type Context, Hono } from "hono";
import type postgres from "postgres";
import * as z from "zod";
import { join } from "../../paths.ts";
import { StorageError } from "./errors.ts";
import { Objects } from "./objects.ts";
import { createResumable } from "./resumable.ts";
import { serveObject } from "./serve.ts";
import { checkToken, signToken } from "./tokens.ts";

interface Options {
  sql: postgres.Sql;
  /** The folder of the objects' bytes. */
  root: string;
  signingSecret: string;
  secretKey: string;
  /** The project's limit in bytes, which holds in every bucket. None unless given. */
  fileSizeLimit?: () => number;
}

const prefix = "/storage/v1";
/** A signed upload URL is valid for two hours. */
const uploadSeconds = 7200;

/** The app under `/storage/v1`, as a value. */
export async function createStorage(
  options: Options,
): Promise<{ fetch(request: Request): Response | Promise<Response> }> {
  const { signingSecret: secret } = options;
  const objects = new Objects(options.sql, options.root, options.fileSizeLimit);
  const uploads = join(options.root, "uploads");
  await Deno.mkdir(join(options.root, "objects"), { recursive: true });
  await Deno.mkdir(uploads, { recursive: true });
  const resumable = createResumable(objects, uploads, null);
  const signedResumable = createResumable(objects, uploads, { secret });

  const app = new Hono().basePath(prefix);
  app.onError((error) => {
    if (error instanceof StorageError) return error.response();
    console.error("storage:", error);
    return Response.json({
      statusCode: "500",
      error: "internal",
      message: "Internal Server Error",
      code: "InternalError",
    }, {
      status: 500,
    });
  });

  // Signed: needs no other authorization.
  app.get("/object/sign/:bucket/:name{.+}", async (c) => {
    const { bucket, name } = place(c);
    await checkToken(secret, c.req.query("token") ?? "", `${bucket}/${name}`, "download");
    return await serveObject(
      objects,
      await objects.find(bucket, name),
      c.req.raw,
      c.req.query("download") ?? null,
    );
  });
  app.put("/object/upload/sign/:bucket/:name{.+}", async (c) => {
    const { bucket, name } = place(c);
    const claims = await checkToken(secret, c.req.query("token") ?? "", `${bucket}/${name}`, "upload");
    return await receive(c, bucket, name, claims.upsert === true);
  });
  app.all("/upload/resumable/sign/*", (c) => signedResumable(c.req.raw));
  app.all("/upload/resumable/sign", (c) => signedResumable(c.req.raw));

  app.use("*", async function requireSecretKey(c, next) {
    const key = c.req.header("authorization")?.replace(/^Bearer /, "") ?? c.req.header("apikey");
    if (key !== options.secretKey) {
      throw new StorageError(
        c.req.method === "GET" || c.req.method === "HEAD" ? "NoSuchKey" : "AccessDenied",
      );
    }
    await next();
  });
  app.all("/upload/resumable/*", (c) => resumable(c.req.raw));
  app.all("/upload/resumable", (c) => resumable(c.req.raw));

  app.get("/bucket", async (c) => c.json(await options.sql`select * from storage.buckets order by id`));
  app.get("/bucket/:bucket", async (c) => c.json(await objects.bucket(c.req.param("bucket"))));
  app.post("/bucket", async (c) => {
    const wanted = Bucket.parse(await c.req.json());
    const made = await options.sql`
      insert into storage.buckets (id, name, file_size_limit, allowed_mime_types)
      values (${wanted.id ?? wanted.name}, ${wanted.name}, ${wanted.file_size_limit ?? null}, ${
      wanted.allowed_mime_types ?? null
    })
      on conflict do nothing`;
    if (made.count === 0) throw new StorageError("KeyAlreadyExists");
    return c.json({ name: wanted.name });
  });

  app.post("/bucket/:bucket/empty", async (c) => {
    await objects.empty(c.req.param("bucket"));
    return c.json({ message: "Successfully emptied" });
  });
  app.delete("/bucket/:bucket", async (c) => {
    await objects.removeBucket(c.req.param("bucket"));
    return c.json({ message: "Successfully deleted" });
  });

  app.post("/object/sign/:bucket/:name{.+}", async (c) => {
    const { bucket, name } = place(c);
    const { expiresIn } = z.object({ expiresIn: z.int().min(1) }).parse(await c.req.json());
    await objects.find(bucket, name);
    return c.json({ signedURL: await downloadUrl(bucket, name, expiresIn) });
  });
  app.post("/object/sign/:bucket", async (c) => {
    const bucket = c.req.param("bucket");
    const { expiresIn, paths } = z.object({ expiresIn: z.int().min(1), paths: z.array(z.string()) }).parse(
      await c.req.json(),
    );
    return c.json(
      await Promise.all(paths.map(async (path) => {
        const found = await objects.find(bucket, path).catch(() => null);
        return found === null
          ? {
            path,
            signedURL: null,
            error: "Either the object does not exist or you do not have access to it",
          }
          : { path, signedURL: await downloadUrl(bucket, path, expiresIn), error: null };
      })),
    );
  });
  app.post("/object/upload/sign/:bucket/:name{.+}", async (c) => {
    const { bucket, name } = place(c);
    const upsert = c.req.header("x-upsert") === "true";
    await objects.admit(bucket, name, "application/octet-stream", null);
    if (!upsert && await objects.find(bucket, name).catch(() => null) !== null) {
      throw new StorageError("KeyAlreadyExists");
    }
    const token = await signToken(secret, `${bucket}/${name}`, "upload", uploadSeconds, { upsert });
    return c.json({ url: `/object/upload/sign/${bucket}/${encodePath(name)}?token=${token}`, token });
  });

  app.post("/object/list/:bucket", async (c) => {
    const { prefix = "", limit, offset } = List.parse(await c.req.json());
    return c.json(await objects.list(c.req.param("bucket"), prefix, limit, offset));
  });
  app.post("/object/move", async (c) => {
    const { bucketId, sourceKey, destinationKey } = Move.parse(await c.req.json());
    await objects.move(bucketId, sourceKey, destinationKey);
    return c.json({ message: "Successfully moved" });
  });
  app.get("/object/info/:bucket/:name{.+}", async (c) => {
    const { bucket, name } = place(c);
    const row = await objects.find(bucket, name);
    return c.json({
      ...row,
      size: row.metadata.size,
      content_type: row.metadata.mimetype,
      etag: row.metadata.eTag,
    });
  });
  app.delete("/object/:bucket", async (c) => {
    const { prefixes } = z.object({ prefixes: z.array(z.string()) }).parse(await c.req.json());
    return c.json(await objects.remove(c.req.param("bucket"), prefixes));
  });
  for (const path of ["/object/authenticated/:bucket/:name{.+}", "/object/:bucket/:name{.+}"]) {
    app.get(path, async (c) => {
      const { bucket, name } = place(c);
      return await serveObject(
        objects,
        await objects.find(bucket, name),
        c.req.raw,
        c.req.query("download") ?? null,
      );
    });
  }
  for (const method of ["POST", "PUT"]) {
    app.on(method, "/object/:bucket/:name{.+}", async (c) => {
      const { bucket, name } = place(c);
      return await receive(c, bucket, name, method === "PUT" || c.req.header("x-upsert") === "true");
    });
  }
  return app;

  async function downloadUrl(bucket: string, name: string, seconds: number): Promise<string> {
    const token = await signToken(secret, `${bucket}/${name}`, "download", seconds);
    return `/object/sign/${bucket}/${encodePath(name)}?token=${token}`;
  }

  /** A raw body, or the one file of a form: both are what the client library sends. */
  async function receive(c: Context, bucket: string, name: string, upsert: boolean): Promise<Response> {
    let type = c.req.header("content-type")?.split(";")[0] ?? "application/octet-stream";
    let body = c.req.raw.body ?? new Blob([]).stream();
    if (type === "multipart/form-data") {
      const file = [...(await c.req.raw.formData()).values()].find((value) => value instanceof File);
      if (file === undefined) throw new StorageError("InvalidRequest", "The form has no file");
      type = file.type || "application/octet-stream";
      body = file.stream();
    }
    await objects.admit(bucket, name, type, Number(c.req.header("content-length")) || null);
    const row = await objects.put(bucket, name, type, body, upsert);
    return c.json({ Id: row.id, Key: `${bucket}/${name}` });
  }
}

const Bucket = z.object({
  id: z.string().optional(),
  name: z.string(),
  file_size_limit: z.int().nullish(),
  allowed_mime_types: z.array(z.string()).nullish(),
});
const List = z.object({
  prefix: z.string().optional(),
  limit: z.int().default(100),
  offset: z.int().default(0),
});
const Move = z.object({ bucketId: z.string(), sourceKey: z.string(), destinationKey: z.string() });

const encodePath = (name: string) => name.split("/").map(encodeURIComponent).join("/");

function place(c: Context): { bucket: string; name: string } {
  return { bucket: c.req.param("bucket") ?? "", name: c.req.param("name") ?? "" };
}
