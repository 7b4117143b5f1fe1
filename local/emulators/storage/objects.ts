/** Objects: rows in storage.objects, bytes in files named by the row's version, never by what a client calls them. */
import { createHash } from "node:crypto";
import type postgres from "postgres";
import { join, removeIfThere } from "../../paths.ts";
import { StorageError } from "./errors.ts";

export interface ObjectRow {
  id: string;
  bucket_id: string;
  name: string;
  version: string;
  metadata: { size: number; mimetype: string; eTag: string };
  created_at: Date;
  updated_at: Date;
}
interface Bucket {
  id: string;
  file_size_limit: string | null;
  allowed_mime_types: string[] | null;
}

export class Objects {
  constructor(
    private readonly sql: postgres.Sql,
    private readonly root: string,
    private readonly projectLimit: () => number = () => Infinity,
  ) {}

  /** The bucket's limits. NoSuchBucket. */
  async bucket(id: string): Promise<Bucket> {
    const [bucket] = await this.sql<Bucket[]>`select * from storage.buckets where id = ${id}`;
    if (bucket === undefined) throw new StorageError("NoSuchBucket");
    return bucket;
  }

  /** Rejects content that the bucket does not allow, before reading any byte. */
  async admit(bucketId: string, name: string, mime: string, size: number | null): Promise<void> {
    const bucket = await this.bucket(bucketId);
    if (!/^[\w/!.*'() &$@=;:+,?-]+$/.test(name) || name.length > 1024 || name.split("/").includes("..")) {
      throw new StorageError("InvalidKey", `Invalid key: ${name}`);
    }
    const types = bucket.allowed_mime_types;
    if (types !== null && !types.some((type) => type === mime || type === `${mime.split("/")[0]}/*`)) {
      throw new StorageError("InvalidMimeType", `mime type ${mime} is not supported`);
    }
    if (size !== null && size > this.limit(bucket)) throw new StorageError("EntityTooLarge");
  }

  /** The bucket's limit or the project's, whichever is lower. */
  private limit({ file_size_limit: own }: Bucket): number {
    return Math.min(own === null ? Infinity : Number(own), this.projectLimit());
  }

  /** The object's row. NoSuchKey. */
  async find(bucket: string, name: string): Promise<ObjectRow> {
    const [row] = await this.sql<ObjectRow[]>`
      select * from storage.objects where bucket_id = ${bucket} and name = ${name}`;
    if (row === undefined) throw new StorageError("NoSuchKey");
    return row;
  }

  /** The path of an object's bytes. */
  path(version: string): string {
    return join(this.root, "objects", version);
  }

  /** Streams a body to disk, then makes the object visible. KeyAlreadyExists unless `upsert`. */
  async put(
    bucket: string,
    name: string,
    mime: string,
    body: ReadableStream<Uint8Array>,
    upsert: boolean,
  ): Promise<ObjectRow> {
    const limit = this.limit(await this.bucket(bucket));
    if (!upsert) await this.refuseExisting(bucket, name);
    const version = crypto.randomUUID();
    const hash = createHash("md5");
    let size = 0;
    try {
      using file = await Deno.open(this.path(version), { write: true, createNew: true });
      for await (const chunk of body) {
        size += chunk.length;
        if (size > limit) throw new StorageError("EntityTooLarge");
        hash.update(chunk);
        for (let written = 0; written < chunk.length;) written += await file.write(chunk.subarray(written));
      }
    } catch (error) {
      await removeIfThere(this.path(version));
      throw error;
    }
    return await this.record(bucket, name, mime, version, size, `"${hash.digest("hex")}"`, upsert);
  }

  /** Adds the file at `path`, a completed resumable upload. Always overwrites. */
  async adopt(bucket: string, name: string, mime: string, path: string): Promise<ObjectRow> {
    const version = crypto.randomUUID();
    const { size } = await Deno.stat(path);
    await Deno.rename(path, this.path(version));
    return await this.record(bucket, name, mime, version, size, `"${version.replaceAll("-", "")}"`, true);
  }

  private async refuseExisting(bucket: string, name: string): Promise<void> {
    const [row] = await this
      .sql`select 1 from storage.objects where bucket_id = ${bucket} and name = ${name}`;
    if (row !== undefined) throw new StorageError("KeyAlreadyExists");
  }

  private async record(
    bucket: string,
    name: string,
    mime: string,
    version: string,
    size: number,
    eTag: string,
    upsert: boolean,
  ): Promise<ObjectRow> {
    const metadata = JSON.stringify({ size, mimetype: mime, eTag });
    const [old] = await this.sql<ObjectRow[]>`
      select * from storage.objects where bucket_id = ${bucket} and name = ${name}`;
    const [row] = await this.sql<ObjectRow[]>`
      insert into storage.objects as o (bucket_id, name, metadata, version)
      values (${bucket}, ${name}, ${metadata}::text::jsonb, ${version})
      on conflict (bucket_id, name) do update
      set metadata = excluded.metadata, version = excluded.version, updated_at = now() where ${upsert}
      returning *`;
    if (row === undefined) {
      await removeIfThere(this.path(version));
      throw new StorageError("KeyAlreadyExists");
    }
    if (old !== undefined) await removeIfThere(this.path(old.version));
    return row;
  }

  /** Removes existing objects; returns their rows. */
  async remove(bucket: string, names: string[]): Promise<ObjectRow[]> {
    const rows = await this.sql<ObjectRow[]>`
      delete from storage.objects where bucket_id = ${bucket} and name = any(${names}) returning *`;
    await Promise.all(rows.map((row) => removeIfThere(this.path(row.version))));
    return rows;
  }

  /** Removes all objects of a bucket. NoSuchBucket. */
  async empty(bucket: string): Promise<void> {
    await this.bucket(bucket);
    const rows = await this.sql<ObjectRow[]>`
      delete from storage.objects where bucket_id = ${bucket} returning *`;
    await Promise.all(rows.map((row) => removeIfThere(this.path(row.version))));
  }

  /** Removes an empty bucket. NoSuchBucket, InvalidRequest. */
  async removeBucket(bucket: string): Promise<void> {
    await this.bucket(bucket);
    const [object] = await this.sql`select 1 from storage.objects where bucket_id = ${bucket} limit 1`;
    if (object !== undefined) {
      throw new StorageError("InvalidRequest", "The bucket you tried to delete is not empty");
    }
    await this.sql`delete from storage.buckets where id = ${bucket}`;
  }

  /** Renames an object. NoSuchKey, KeyAlreadyExists. */
  async move(bucket: string, from: string, to: string): Promise<void> {
    await this.refuseExisting(bucket, to);
    const moved = await this.sql`
      update storage.objects set name = ${to}, updated_at = now()
      where bucket_id = ${bucket} and name = ${from}`;
    if (moved.count === 0) throw new StorageError("NoSuchKey");
  }

  /** Objects and folders directly below a prefix, as the list call returns them. */
  async list(bucket: string, prefix: string, limit: number, offset: number): Promise<unknown[]> {
    const below = prefix === "" || prefix.endsWith("/") ? prefix : `${prefix}/`;
    const rows = await this.sql<ObjectRow[]>`
      select * from storage.objects where bucket_id = ${bucket} and starts_with(name, ${below}) order by name`;
    const seen = new Map<string, unknown>();
    for (const row of rows) {
      const [first = "", ...rest] = row.name.slice(below.length).split("/");
      if (rest.length > 0) {
        seen.set(first, { name: first, id: null, metadata: null, created_at: null, updated_at: null });
      } else seen.set(first, { ...row, name: first });
    }
    return [...seen.values()].slice(offset, offset + limit);
  }
}
