/**
 * A POST over HTTP/1.1 and TLS to a checked address. `fetch` would resolve the host again, and a name server that answers
 * differently the second time would get past the check (DNS rebinding). Here the connection goes to the address, and the
 * certificate must match the host. `Deno.connect` and `Deno.startTls` are all that the platform's runtime (Deno 2.1) offers
 * for this: its `node:https` ignores `lookup`.
 *
 * Reads only what webhook deliveries need: the status, the headers and the start of the body. No redirects, compression or
 * keep-alive.
 */

export interface PinnedRequest {
  url: URL;
  /** Tried in order until one accepts the connection. */
  addresses: string[];
  headers: Record<string, string>;
  body: string;
  timeoutMs: number;
  /** How much of the response body to read. */
  maxBytes: number;
}
export interface PinnedResponse {
  status: number;
  headers: Headers;
  body: Uint8Array;
}
export interface PinnedOptions {
  /** For tests: another dialer, and additional certificate authorities. */
  connect?: (options: { hostname: string; port: number }) => Promise<Deno.TcpConn>;
  caCerts?: string[];
}

/** The maximum size of the response's header block. */
const maxHeadBytes = 65_536;

/** Rejects with a DOMException named TimeoutError after `timeoutMs`. */
export async function pinnedPost(
  request: PinnedRequest,
  options: PinnedOptions = {},
): Promise<PinnedResponse> {
  let open: Deno.Conn | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new DOMException("timed out", "TimeoutError"));
      close(open);
    }, request.timeoutMs);
  });
  const work = async () => {
    open = await connect(request, options);
    await writeAll(open, encode(request));
    return await readResponse(open, request.maxBytes);
  };
  const working = work();
  working.catch(() => {}); // after a timeout nothing awaits it
  try {
    return await Promise.race([working, timeout]);
  } finally {
    clearTimeout(timer);
    close(open);
  }
}

async function connect({ url, addresses }: PinnedRequest, options: PinnedOptions): Promise<Deno.TlsConn> {
  const dial = options.connect ?? Deno.connect;
  const port = Number(url.port || 443);
  let failure: unknown = new Error("no address to connect to");
  for (const hostname of addresses) {
    let plain: Deno.TcpConn;
    try {
      plain = await dial({ hostname, port });
    } catch (error) {
      failure = error;
      continue;
    }
    const secure = await Deno.startTls(plain, {
      hostname: url.hostname.replace(/^\[|\]$|\.$/g, ""),
      ...(options.caCerts === undefined ? {} : { caCerts: options.caCerts }),
    });
    // Verifies the certificate before anything is sent.
    await secure.handshake();
    return secure;
  }
  throw failure;
}

function encode({ url, headers, body }: PinnedRequest): Uint8Array {
  const content = new TextEncoder().encode(body);
  const all = new Headers(headers); // rejects line breaks, which would allow header injection
  all.set("host", url.host);
  all.set("content-length", String(content.length));
  all.set("connection", "close");
  if (!all.has("user-agent")) all.set("user-agent", "Tunebase");
  if (!all.has("accept")) all.set("accept", "*/*");
  const lines = Array.from(all, ([name, value]) => `${name}: ${value}\r\n`).join("");
  const head = new TextEncoder().encode(`POST ${url.pathname}${url.search} HTTP/1.1\r\n${lines}\r\n`);
  const request = new Uint8Array(head.length + content.length);
  request.set(head);
  request.set(content, head.length);
  return request;
}

async function writeAll(to: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}

/** Reads lines and byte ranges from a connection. */
class Reader {
  #buffered = new Uint8Array(0);
  #ended = false;
  constructor(private readonly from: Deno.Conn) {}

  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const chunk = new Uint8Array(16_384);
    let count: number | null;
    try {
      count = await this.from.read(chunk);
    } catch (error) {
      // Many servers close without a TLS close_notify; what they sent is valid.
      if (!(error instanceof Deno.errors.UnexpectedEof)) throw error;
      count = null;
    }
    if (count === null) this.#ended = true;
    else {
      const joined = new Uint8Array(this.#buffered.length + count);
      joined.set(this.#buffered);
      joined.set(chunk.subarray(0, count), this.#buffered.length);
      this.#buffered = joined;
    }
    return !this.#ended;
  }

  /** The next line, without its line break. */
  async line(): Promise<string> {
    let end: number;
    while ((end = this.#buffered.indexOf(10)) < 0) {
      if (this.#buffered.length > maxHeadBytes) throw new Error("the response headers are too long");
      if (!await this.#more()) throw new Error("the connection closed before the response was complete");
    }
    const line = new TextDecoder("latin1").decode(this.#buffered.subarray(0, end)).replace(/\r$/, "");
    this.#buffered = this.#buffered.slice(end + 1);
    return line;
  }

  /** Up to `max` of the next bytes; fewer only at the end of the connection. */
  async bytes(max: number): Promise<Uint8Array> {
    while (this.#buffered.length < max && await this.#more());
    const part = this.#buffered.slice(0, max);
    this.#buffered = this.#buffered.slice(max);
    return part;
  }
}

async function readResponse(connection: Deno.Conn, maxBytes: number): Promise<PinnedResponse> {
  const reader = new Reader(connection);
  for (;;) {
    const first = await reader.line();
    const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1]);
    if (!(status >= 100)) throw new Error("the response is not HTTP");
    const headers = await readHeaders(reader);
    if (status < 200) continue; // 100, 103: interim responses
    if (status === 204 || status === 304) return { status, headers, body: new Uint8Array(0) };
    return { status, headers, body: await readBody(reader, headers, maxBytes) };
  }
}

async function readHeaders(reader: Reader): Promise<Headers> {
  const headers = new Headers();
  let size = 0;
  for (let line = await reader.line(); line !== ""; line = await reader.line()) {
    size += line.length;
    if (size > maxHeadBytes) throw new Error("the response headers are too long");
    const colon = line.indexOf(":");
    try {
      if (colon > 0) headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
    } catch {
      // An invalid header name or value: the rest of the response is still readable.
    }
  }
  return headers;
}

async function readBody(reader: Reader, headers: Headers, max: number): Promise<Uint8Array> {
  if (!/\bchunked\b/i.test(headers.get("transfer-encoding") ?? "")) {
    const length = headers.get("content-length");
    return await reader.bytes(length === null ? max : Math.min(max, Number(length) || 0));
  }
  const body = new Uint8Array(max);
  let filled = 0;
  while (filled < max) {
    const length = parseInt(await reader.line(), 16);
    if (!(length > 0)) break;
    const part = await reader.bytes(Math.min(length, max - filled));
    body.set(part, filled);
    filled += part.length;
    if (part.length < length) break;
    await reader.line();
  }
  return body.subarray(0, filled);
}

function close(connection: Deno.Conn | null): void {
  try {
    connection?.close();
  } catch {
    // Already closed by the peer or by the timeout.
  }
}
