/** Signed URLs, and errors of Storage. */
import type { Supabase } from "./platform.ts";
import { ApiError } from "./errors.ts";

/** A download URL for one object that expires after `seconds`. Throws `unavailable` if Storage fails. */
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

/** The files below `prefix`, each with a download URL that expires after `seconds`. One call for all of them. */
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
 * The ApiError for a failed Storage call; the cause goes to the log. An object that exceeds Storage's own size limit is a
 * permanent error: 413.
 */
export function unavailable(what: string, cause: unknown): ApiError {
  if (isTooLarge(cause)) {
    return new ApiError("too_large", [{
      param: "file",
      message:
        "file: exceeds the file size limit of this server's Storage (of the Supabase project or the bucket). " +
        "Ask the operator to raise it, or send a smaller file.",
    }], { cause: what });
  }
  return new ApiError("unavailable", ApiError.of("unavailable").problems, {
    cause: `${what}: ${cause instanceof Error ? cause.message : String(cause)}`,
  });
}

/** Storage responds with 413, or with 400 and the real status in its body. */
function isTooLarge(cause: unknown): boolean {
  if (cause === null || typeof cause !== "object") return false;
  const { status, statusCode } = cause as { status?: unknown; statusCode?: unknown };
  return Number(status) === 413 || Number(statusCode) === 413;
}
