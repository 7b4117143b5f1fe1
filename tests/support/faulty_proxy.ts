/** A proxy before Tunebase that does what networks do: it cuts answers off, changes bytes, holds requests up. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { freePort } from "../../local/state_dir.ts";

export interface ProxiedRequest {
  method: string;
  path: string;
  headers: Headers;
}

/** What happens to a request; nothing: it is passed on. */
export interface Fault {
  /** Held up until then, and dropped. */
  hold?: Promise<void>;
  /** Answered with this status, and not passed on. */
  answer?: number;
  /** The answer breaks off after so many bytes of its body. */
  truncateAfter?: number;
  /** Each piece of the answer has a wrong bit. */
  flip?: boolean;
  /** Headers of the answer. */
  headers?: Record<string, string>;
}

export interface FaultyProxy {
  url: string;
  /** Where it passes requests on to. */
  target: string;
  /** What has come, in order. */
  requests: ProxiedRequest[];
  fault: ((request: ProxiedRequest) => Fault | undefined) | null;
  close(): Promise<void>;
}

/** Starts it; `target` is told afterwards. */
export async function startFaultyProxy(): Promise<FaultyProxy> {
  const port = freePort(0, "");
  const server = createServer((request, response) => {
    // A client or a server that has gone is what is tested.
    handle(proxy, request, response).catch(() => response.socket?.destroy());
  });
  const proxy: FaultyProxy = {
    url: `http://127.0.0.1:${port}`,
    target: "",
    requests: [],
    fault: null,
    async close() {
      server.close();
      server.closeAllConnections();
      await new Promise((resolve) => setTimeout(resolve, 0));
    },
  };
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return proxy;
}

async function handle(proxy: FaultyProxy, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method = "GET", url: path = "/" } = request;
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    if (!["host", "connection", "transfer-encoding"].includes(name)) headers.set(name, String(value));
  }
  const passed = { method, path, headers };
  proxy.requests.push(passed);
  const fault = proxy.fault?.(passed) ?? {};
  if (fault.hold !== undefined) {
    await fault.hold;
    throw new Error("dropped");
  }
  if (fault.answer !== undefined) {
    for await (const _ of request); // a body that is not read holds the connection up
    response.writeHead(fault.answer).end();
    return;
  }
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  const answer = await fetch(`${proxy.target}${path}`, {
    method,
    headers,
    body: method === "GET" || method === "HEAD" ? null : Readable.toWeb(request) as ReadableStream,
    redirect: "manual",
    signal: gone.signal,
  });
  // Uploads go on where the answer says: here.
  const back = [...answer.headers].filter(([name]) => name !== "content-encoding").map(([name, value]) =>
    [name, name === "location" ? value.replace(proxy.target, proxy.url) : value] as const
  );
  response.writeHead(answer.status, { ...Object.fromEntries(back), ...fault.headers });
  response.flushHeaders();
  let left = fault.truncateAfter ?? Infinity;
  if (left <= 0) throw new Error("cut off");
  for await (const chunk of answer.body ?? []) {
    const bytes = chunk.slice(0, Math.min(left, chunk.length));
    if (fault.flip) bytes[0] = (bytes[0] ?? 0) ^ 1;
    left -= bytes.length;
    await new Promise<void>((resolve) => response.write(bytes, () => resolve()));
    if (left <= 0) throw new Error("cut off");
  }
  response.end();
}
