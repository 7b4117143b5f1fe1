/** A proxy before Tunebase that does what networks do: it cuts answers off, changes bytes, holds requests up. */
import { freePort } from "../local/home.ts";

export interface Passed {
  method: string;
  path: string;
  headers: Headers;
}

/** What to do with the next request that fits; undefined passes it on. */
export type Meddle = (request: Passed, pass: () => Promise<Response>) => Promise<Response> | undefined;

export interface Meddler {
  url: string;
  /** Where it passes requests on to. */
  target: string;
  /** What has come, in order. */
  seen: Passed[];
  meddle: Meddle | null;
  close(): Promise<void>;
}

/** Starts it; `target` is told afterwards. */
export function startMeddler(): Meddler {
  const port = freePort(0, "");
  const meddler: Meddler = {
    url: `http://127.0.0.1:${port}`,
    target: "",
    seen: [],
    meddle: null,
    close: () => server.shutdown(),
  };
  const server = Deno.serve({ port, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    const { pathname, search } = new URL(request.url);
    const passed = { method: request.method, path: pathname + search, headers: request.headers };
    meddler.seen.push(passed);
    const headers = new Headers(request.headers);
    headers.delete("host");
    headers.delete("connection");
    const pass = async () => {
      const response = await fetch(`${meddler.target}${pathname}${search}`, {
        method: request.method,
        headers,
        body: request.body,
        redirect: "manual",
      });
      // Uploads go on where the answer says: here.
      const location = response.headers.get("location")?.replace(meddler.target, meddler.url);
      if (location === undefined) return response;
      const answered = new Headers(response.headers);
      answered.set("location", location);
      return new Response(response.body, { status: response.status, headers: answered });
    };
    return await (meddler.meddle?.(passed, pass) ?? pass());
  });
  return meddler;
}

/** The answer's first bytes; then the connection breaks. */
export function cutOff(response: Response, bytes: number): Response {
  let left = bytes;
  const cut = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(chunk, controller) {
      controller.enqueue(chunk.subarray(0, left));
      left -= chunk.length;
      if (left <= 0) controller.error(new Error("cut off"));
    },
  });
  return new Response(response.body?.pipeThrough(cut), {
    status: response.status,
    headers: response.headers,
  });
}
