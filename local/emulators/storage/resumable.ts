/** Resumable uploads by `@tus/server`, which the real server also uses. With a bearer key, or signed (`/sign`). */
import { FileStore } from "@tus/file-store";
import { Metadata, Server } from "@tus/server";
import { join, removeIfThere } from "../../paths.ts";
import { StorageError } from "./errors.ts";
import type { Objects } from "./objects.ts";
import { checkToken } from "./tokens.ts";

/** The handler of `/storage/v1/upload/resumable` and, with `signed`, of `…/sign` below it. */
export function createResumable(
  objects: Objects,
  directory: string,
  signed: { secret: string } | null,
): (request: Request) => Promise<Response> {
  const datastore = new FileStore({ directory });
  const server = new Server({
    path: `/storage/v1/upload/resumable${signed === null ? "" : "/sign"}`,
    datastore,
    namingFunction: () => crypto.randomUUID().replaceAll("-", ""),
    async onIncomingRequest(request, id) {
      if (signed === null || request.method === "OPTIONS") return;
      const metadata = request.method === "POST"
        ? Metadata.parse(request.headers.get("upload-metadata") ?? "")
        : (await datastore.getUpload(id)).metadata;
      const { bucket, name } = target(metadata);
      const token = request.headers.get("x-signature") ?? "";
      await plainly(() => checkToken(signed.secret, token, `${bucket}/${name}`, "upload"));
    },
    async onUploadCreate(_request, upload) {
      const { bucket, name, type } = target(upload.metadata);
      await plainly(() => objects.admit(bucket, name, type, upload.size ?? null));
      return {};
    },
    async onUploadFinish(_request, upload) {
      const { bucket, name, type } = target(upload.metadata);
      await objects.adopt(bucket, name, type, join(directory, upload.id));
      await removeIfThere(join(directory, `${upload.id}.json`));
      return {};
    },
  });
  return (request) => server.handleWeb(request);
}

function target(
  metadata: Record<string, string | null> | undefined,
): { bucket: string; name: string; type: string } {
  const { bucketName, objectName, contentType } = metadata ?? {};
  if (!bucketName || !objectName) {
    throw new StorageError("InvalidRequest", "bucketName and objectName are needed").plain;
  }
  return { bucket: bucketName, name: objectName, type: contentType ?? "application/octet-stream" };
}

/** Converts errors to the TUS server's format. */
async function plainly(run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    throw error instanceof StorageError ? error.plain : error;
  }
}
