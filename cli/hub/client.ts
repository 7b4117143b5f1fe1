/**
 * The Hugging Face Hub's API for repositories and commits, as its own clients use it. Large files are uploaded with Git LFS:
 * in one request, or in parts where the Hub says so.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import * as z from "zod";
import { CliError, networkErrorReason, UnreachableError } from "../errors.ts";
import { userAgent } from "../version.ts";
import { putFile } from "./put_file.ts";

/** A file of a commit. */
export interface HubFile {
  /** In the repository, with `/`. */
  path: string;
  /** On this machine. */
  local: string;
  bytes: number;
  sha256: string;
  /** The first 512 bytes, from which the Hub recognizes binary files. */
  sample: Uint8Array;
}

const User = z.object({ name: z.string() });
const Preupload = z.object({
  files: z.array(
    z.object({
      path: z.string(),
      uploadMode: z.enum(["lfs", "regular"]),
      shouldIgnore: z.boolean().optional(),
    }),
  ),
});
const Action = z.object({ href: z.string(), header: z.record(z.string(), z.string()).default({}) });
const Batch = z.object({
  objects: z.array(z.object({
    oid: z.string(),
    error: z.object({ message: z.string() }).optional(),
    actions: z.object({ upload: Action.optional(), verify: Action.optional() }).optional(),
  })),
});
const Commit = z.object({ commitUrl: z.string(), commitOid: z.string() });
export type Commit = z.infer<typeof Commit>;

const lfsJson = "application/vnd.git-lfs+json";
const json = "application/json";

export class Hub {
  /** `HF_ENDPOINT` replaces the address, as in Python. */
  readonly url = (process.env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");

  constructor(private readonly token: string) {}

  /** The token's user. */
  async user(): Promise<string> {
    const { name } = await this.#json(User, "/api/whoami-v2");
    return name;
  }

  /** Creates a model repository. Returns false if it exists already. */
  async createRepository(repository: string, isPrivate: boolean, user: string): Promise<boolean> {
    const [owner, name] = repository.split("/");
    const response = await this.#fetch("/api/repos/create", {
      body: JSON.stringify({
        type: "model",
        name,
        private: isPrivate,
        ...(owner === user ? {} : { organization: owner }),
      }),
    });
    if (response.status === 409) {
      await response.body?.cancel();
      return false;
    }
    await this.#check(response, "/api/repos/create");
    await response.body?.cancel();
    return true;
  }

  /** Whether strangers can read the repository. */
  async isPublic(repository: string): Promise<boolean> {
    const info = await this.#json(z.object({ private: z.boolean() }), `/api/models/${repository}`);
    return !info.private;
  }

  /** How the Hub wants each file: in the commit itself, or with Git LFS. */
  async uploadModes(repository: string, files: HubFile[]): Promise<Map<string, "lfs" | "regular">> {
    const { files: answered } = await this.#json(Preupload, `/api/models/${repository}/preupload/main`, {
      body: JSON.stringify({
        files: files.map(({ path, bytes, sample }) => ({
          path,
          size: bytes,
          sample: base64(sample),
        })),
      }),
    });
    return new Map(
      answered.filter(({ shouldIgnore }) => shouldIgnore !== true)
        .map(({ path, uploadMode }) => [path, uploadMode]),
    );
  }

  /** Uploads the contents of large files, except those that the Hub already has. */
  async uploadLfs(repository: string, files: HubFile[], onProgress: (bytes: number) => void): Promise<void> {
    if (files.length === 0) return;
    const { objects } = await this.#json(Batch, `/${repository}.git/info/lfs/objects/batch`, {
      body: JSON.stringify({
        operation: "upload",
        transfers: ["basic", "multipart"],
        hash_algo: "sha256",
        objects: files.map(({ sha256, bytes }) => ({ oid: sha256, size: bytes })),
      }),
      headers: { accept: lfsJson, "content-type": lfsJson },
    });
    let sent = 0;
    for (const file of files) {
      const object = objects.find(({ oid }) => oid === file.sha256);
      if (object === undefined || object.error !== undefined) {
        throw new CliError(
          `The Hugging Face Hub does not accept ${file.path}: ${object?.error?.message ?? "no answer"}.`,
        );
      }
      const { upload, verify } = object.actions ?? {};
      if (upload !== undefined) await this.#uploadObject(file, upload, (bytes) => onProgress(sent + bytes));
      if (verify !== undefined) {
        await this.#check(
          await this.#fetch(verify.href, {
            body: JSON.stringify({ oid: file.sha256, size: file.bytes }),
            headers: { ...verify.header, "content-type": lfsJson },
          }),
          verify.href,
        );
      }
      onProgress(sent += file.bytes);
    }
  }

  async #uploadObject(
    file: HubFile,
    { href, header }: z.infer<typeof Action>,
    onProgress: (bytes: number) => void,
  ): Promise<void> {
    const partBytes = Number(header.chunk_size ?? 0);
    if (partBytes === 0) {
      await putFile(href, header, file.local, { start: 0, bytes: file.bytes }, onProgress);
      return;
    }
    const parts = Object.keys(header).filter((name) => /^\d+$/.test(name))
      .sort((one, two) => Number(one) - Number(two));
    const etags: { partNumber: number; etag: string }[] = [];
    for (const [index, name] of parts.entries()) {
      const start = index * partBytes;
      const bytes = Math.min(partBytes, file.bytes - start);
      const etag = await putFile(header[name] ?? "", {}, file.local, { start, bytes }, (sent) => {
        onProgress(start + sent);
      });
      etags.push({ partNumber: Number(name), etag: etag ?? "" });
    }
    await this.#check(
      await this.#fetch(href, {
        body: JSON.stringify({ oid: file.sha256, parts: etags }),
        headers: { accept: lfsJson, "content-type": lfsJson },
        isSigned: true,
      }),
      href,
    );
  }

  /** Commits the files to the main branch. `regular`: their contents. */
  async commit(
    repository: string,
    summary: string,
    regular: { path: string; content: Uint8Array }[],
    lfs: HubFile[],
  ): Promise<Commit> {
    const lines = [
      { key: "header", value: { summary, description: "" } },
      ...regular.map(({ path, content }) => ({
        key: "file",
        value: { path, content: base64(content), encoding: "base64" },
      })),
      ...lfs.map(({ path, sha256, bytes }) => ({
        key: "lfsFile",
        value: { path, algo: "sha256", oid: sha256, size: bytes },
      })),
    ];
    return await this.#json(Commit, `/api/models/${repository}/commit/main`, {
      body: lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
      headers: { "content-type": "application/x-ndjson" },
    });
  }

  async #json<T>(schema: z.ZodType<T>, path: string, request: HubRequest = {}): Promise<T> {
    const response = await this.#fetch(path, request);
    await this.#check(response, path);
    const parsed = schema.safeParse(await response.json().catch(() => null));
    if (parsed.success) return parsed.data;
    throw new CliError(
      `The Hugging Face Hub answered something unexpected at ${path}. Check HF_ENDPOINT if it is set.`,
    );
  }

  async #fetch(path: string, { body, headers = {}, isSigned = false }: HubRequest): Promise<Response> {
    const url = new URL(path, `${this.url}/`);
    // Storage's signed URLs are on other hosts, which must not get the token.
    const withToken = !isSigned && url.origin === new URL(this.url).origin;
    try {
      return await fetch(url, {
        ...(body === undefined ? {} : { method: "POST", body }),
        headers: {
          "user-agent": userAgent,
          ...(body === undefined ? {} : { "content-type": json }),
          ...(withToken ? { authorization: `Bearer ${this.token}` } : {}),
          ...headers,
        },
      });
    } catch (error) {
      throw new UnreachableError(url.origin, networkErrorReason(error), error);
    }
  }

  /** Throws a CliError with the Hub's message if the response is not a success. */
  async #check(response: Response, path: string): Promise<void> {
    if (response.ok) return;
    const Problem = z.object({ error: z.string() });
    const problem = Problem.safeParse(await response.json().catch(() => null));
    // Without the query: that of a signed URL is a permission.
    const { pathname } = new URL(path, `${this.url}/`);
    const reason = problem.success ? problem.data.error : `it answered ${response.status} at ${pathname}`;
    const hint = response.status === 401
      ? "\nThe token is not valid. Create one with write access at https://huggingface.co/settings/tokens."
      : response.status === 403
      ? "\nThe token needs write access to the repository. Create one at https://huggingface.co/settings/tokens."
      : "";
    throw new CliError(`Hugging Face Hub: ${reason}${hint}`);
  }
}

interface HubRequest {
  /** Sent with POST. */
  body?: string;
  headers?: Record<string, string>;
  /** The URL is the permission. */
  isSigned?: boolean;
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
