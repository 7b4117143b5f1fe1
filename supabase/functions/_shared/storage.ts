/** Storage, as two functions use it: signed URLs and errors that say what failed. */
import type { Supabase } from "./platform.ts";
import { ApiError } from "./errors.ts";

/** A URL that opens one object for some seconds. Throws `unavailable` when Storage fails. */
export async function signedUrl(
  supabase: Supabase,
  bucket: string,
  object: string,
  seconds: number,
): Promise<string> {
  const { data, error } = await supabase.storage.from(bucket).createSignedUrl(object, seconds);
  if (error !== null) throw unavailable(`signing ${bucket}/${object}`, error);
  return data.signedUrl;
}

/** The files below `prefix`, each with a URL that opens it for some seconds: one call, however many. */
export async function signFiles<File extends { path: string }>(
  supabase: Supabase,
  bucket: string,
  prefix: string,
  files: File[],
  seconds: number,
): Promise<(File & { url: string })[]> {
  const { data, error } = await supabase.storage.from(bucket).createSignedUrls(
    files.map((file) => `${prefix}/${file.path}`),
    seconds,
  );
  if (error !== null) throw unavailable(`signing ${prefix}`, error);
  return files.map((file, i) => {
    const signed = data[i];
    if (!signed?.signedUrl) throw unavailable(`signing ${prefix}/${file.path}`, signed?.error);
    return { ...file, url: signed.signedUrl };
  });
}

/**
 * The ApiError for a Storage call that failed; the cause goes to the log. An object past Storage's own size limit is no
 * passing trouble: 413, which says whose limit it is.
 */
export function unavailable(what: string, cause: unknown): ApiError {
  if (isTooLarge(cause)) {
    return new ApiError("too_large", [{
      param: "file",
      message:
        "file: is larger than this server's Storage takes (the file size limit of the Supabase project or of the bucket). " +
        "Ask its operator to raise that limit, or send a smaller file.",
    }], { cause: what });
  }
  return new ApiError("unavailable", ApiError.of("unavailable").problems, {
    cause: `${what}: ${cause instanceof Error ? cause.message : String(cause)}`,
  });
}

/** Storage answers 413, or 400 with the real status in its body. */
function isTooLarge(cause: unknown): boolean {
  if (cause === null || typeof cause !== "object") return false;
  const { status, statusCode } = cause as { status?: unknown; statusCode?: unknown };
  return Number(status) === 413 || Number(statusCode) === 413;
}
