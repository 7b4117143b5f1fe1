/** PUT of a part of a file, streamed with its length: fetch sends a stream in chunks, which S3 rejects. */
import { createReadStream } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import { pipeline } from "node:stream/promises";
import { CliError, networkErrorReason } from "../errors.ts";

/** Resolves with the response's ETag. Throws a CliError. */
export async function putFile(
  url: string,
  headers: Record<string, string>,
  path: string,
  { start, bytes }: { start: number; bytes: number },
  onProgress: (bytes: number) => void,
): Promise<string | null> {
  const { request } = new URL(url).protocol === "https:" ? https : http;
  const put = request(url, { method: "PUT", headers: { ...headers, "content-length": bytes } });
  const answered = new Promise<http.IncomingMessage>((resolve, reject) => {
    put.on("response", resolve);
    put.on("error", reject);
  });
  let sent = 0;
  const part = async function* () {
    if (bytes === 0) return;
    for await (const chunk of createReadStream(path, { start, end: start + bytes - 1 })) {
      yield chunk;
      onProgress(sent += chunk.length);
    }
  };
  let response: http.IncomingMessage;
  try {
    [response] = await Promise.all([answered, pipeline(part, put)]);
  } catch (error) {
    throw new CliError(
      `The upload to the Hugging Face Hub was interrupted: ${
        networkErrorReason(error)
      }. Run the same command again.`,
      undefined,
      { cause: error },
    );
  }
  response.resume();
  const { statusCode = 0 } = response;
  if (statusCode < 200 || statusCode > 299) {
    throw new CliError(`The Hugging Face Hub's storage answered ${statusCode}. Run the same command again.`);
  }
  return response.headers.etag ?? null;
}
