/** The project's own services, Auth and Storage, with its secret key. */
import type { Context } from "../step.ts";
import { PlatformError } from "./request.ts";

export interface ProjectAnswer {
  ok: boolean;
  status: number;
  /** The start of the body, for messages. */
  text: string;
}

/** Posts to a path such as `/storage/v1/…`. Throws a PlatformError if there is no response. */
export async function postToProject(
  { supabase, target, state }: Context,
  path: string,
  body: Record<string, unknown> | Uint8Array<ArrayBuffer> = {},
  headers: Record<string, string> = {},
): Promise<ProjectAnswer> {
  const key = await supabase.secretKey();
  const isBytes = body instanceof Uint8Array;
  try {
    const response = await fetch(`${target.projectUrl(state.project ?? "")}${path}`, {
      method: "POST",
      headers: {
        apikey: key,
        authorization: `Bearer ${key}`,
        "content-type": isBytes ? "application/octet-stream" : "application/json",
        ...headers,
      },
      body: isBytes ? body : JSON.stringify(body),
      signal: AbortSignal.timeout(120_000),
    });
    return { ok: response.ok, status: response.status, text: (await response.text()).slice(0, 300) };
  } catch (error) {
    throw new PlatformError(
      "Supabase",
      0,
      `${path} cannot be reached: ${error instanceof Error ? error.message : error}`,
    );
  }
}
