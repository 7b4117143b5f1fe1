/** A proxy in front of Tunebase that injects network faults: truncated responses, corrupt bytes, blocked requests. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { freePort } from "../../local/state_dir.ts";

export interface ProxiedRequest {
  method: string;
  path: string;
  headers: Headers;
}

/** A fault to inject into a request; an empty one forwards it. */
export interface Fault {
  /** Blocks the request until then, and drops it. */
  holdUntil?: Promise<void>;
  /** Responds with this status without forwarding. */
  status?: number;
  /** Cuts the response off after this number of body bytes. */
  truncateAfter?: number;
  /** Flips a bit in each chunk of the response. */
  corrupt?: boolean;
  /** Additional response headers. */
  headers?: Record<string, string>;
}

export interface FaultyProxy {
  url: string;
  /** Where it forwards requests to. */
  target: string;
  /** Received requests, in order. */
  requests: ProxiedRequest[];
  fault: ((request: ProxiedRequest) => Fault | undefined) | null;
  close(): Promise<void>;
}

/** Starts it; set `target` afterwards. */
export async function startFaultyProxy(): Promise<FaultyProxy> {
  const port = freePort(0, "");
  const server = createServer((request, response) => {
    // Disconnected clients and servers are part of the tests.
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
  if (fault.holdUntil !== undefined) {
    await fault.holdUntil;
    throw new Error("dropped");
  }
  if (fault.status !== undefined) {
    for await (const _ of request); // an unread body blocks the connection
    response.writeHead(fault.status).end();
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
  // Uploads continue at the location header: point it here.
  const back = [...answer.headers].filter(([name]) => name !== "content-encoding").map(([name, value]) =>
    [name, name === "location" ? value.replace(proxy.target, proxy.url) : value] as const
  );
  response.writeHead(answer.status, { ...Object.fromEntries(back), ...fault.headers });
  response.flushHeaders();
  let left = fault.truncateAfter ?? Infinity;
  if (left <= 0) throw new Error("cut off");
  for await (const chunk of answer.body ?? []) {
    const bytes = chunk.slice(0, Math.min(left, chunk.length));
    if (fault.corrupt) bytes[0] = (bytes[0] ?? 0) ^ 1;
    left -= bytes.length;
    await new Promise<void>((resolve) => response.write(bytes, () => resolve()));
    if (left <= 0) throw new Error("cut off");
  }
  response.end();
}
