/** The Hugging Face Hub, through its own library: repositories, and commits of large files. */
import process from "node:process";
import { pathToFileURL } from "node:url";
import { createRepo, HubApiError, modelInfo, uploadFilesWithProgress, whoAmI } from "@huggingface/hub";
import { CliError, networkErrorReason, UnreachableError } from "../errors.ts";

/** A file of a commit. */
export interface HubFile {
  /** The path in the repository, with `/`. */
  path: string;
  /** The local path. */
  local: string;
}

export class Hub {
  /** `HF_ENDPOINT` overrides the address, as in Python. */
  readonly url = (process.env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
  readonly #common: { accessToken: string; hubUrl: string };

  constructor(token: string) {
    this.#common = { accessToken: token, hubUrl: this.url };
  }

  /** The token's user. */
  async user(): Promise<string> {
    return (await this.#explained(whoAmI(this.#common))).name;
  }

  /** Creates a model repository. Returns false if it exists already. */
  async createRepository(repository: string, isPrivate: boolean): Promise<boolean> {
    try {
      await createRepo({
        ...this.#common,
        repo: model(repository),
        visibility: isPrivate ? "private" : "public",
      });
      return true;
    } catch (error) {
      if (error instanceof HubApiError && error.statusCode === 409) return false;
      throw this.#explain(error);
    }
  }

  /** Whether the repository is public. */
  async isPublic(repository: string): Promise<boolean> {
    return !(await this.#explained(modelInfo({ ...this.#common, name: repository }))).private;
  }

  /** Commits files to the main branch. Calls `onFile` with each large one that is uploaded. Returns the commit's id. */
  async commit(
    repository: string,
    title: string,
    files: HubFile[],
    onFile: (path: string) => void,
  ): Promise<string> {
    const commit = uploadFilesWithProgress({
      ...this.#common,
      repo: model(repository),
      commitTitle: title,
      files: files.map(({ path, local }) => ({ path, content: pathToFileURL(local) })),
      // Without Xet, which loads WebAssembly to deduplicate files; new weights have nothing to deduplicate.
      useXet: false,
    });
    try {
      for (;;) {
        const { done, value } = await commit.next();
        if (done) return value?.commit.oid ?? "";
        if (value.event === "fileProgress" && value.state === "uploading" && value.progress === 1) {
          onFile(value.path);
        }
      }
    } catch (error) {
      throw this.#explain(error);
    }
  }

  async #explained<T>(request: Promise<T>): Promise<T> {
    try {
      return await request;
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** Converts the Hub's message to an error with a hint. Never includes a URL, because upload URLs grant access. */
  #explain(error: unknown): unknown {
    if (error instanceof TypeError && error.cause !== undefined) { // as fetch throws it
      return new UnreachableError(new URL(this.url).origin, networkErrorReason(error), error);
    }
    if (!(error instanceof HubApiError)) return error;
    const { statusCode, data } = error;
    const reason = typeof data?.error === "string" ? data.error : `it responded with ${statusCode}`;
    const hint = statusCode === 401
      ? "\nThe token is not valid. Create one with write access at https://huggingface.co/settings/tokens."
      : statusCode === 403
      ? "\nThe token needs write access to the repository. Create one at https://huggingface.co/settings/tokens."
      : "";
    return new CliError(`Hugging Face Hub: ${reason}${hint}`);
  }
}

const model = (name: string) => ({ type: "model" as const, name });
