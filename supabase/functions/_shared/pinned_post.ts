/**
 * One POST over HTTP/1.1 and TLS to an address that was checked. `fetch` resolves the name again, so a name server that
 * answers twice differently within milliseconds would get past the check (DNS rebinding). Here the connection goes to the
 * address, and the certificate must be the name's. `Deno.connect` and `Deno.startTls` are all that the platform's runtime
 * (Deno 2.1) has for this: its `node:https` takes no `lookup`.
 *
 * It reads what a webhook's answer needs and no more: the status, the headers, the beginning of the body. No redirect, no
 * compression, no second request on the connection.
 */

export interface PinnedRequest {
  url: URL;
  /** Tried in this order until one takes the connection. */
  addresses: string[];
  headers: Record<string, string>;
  body: string;
  timeoutMs: number;
  /** So much of the body is read. */
  maxBytes: number;
}
export interface PinnedAnswer {
  status: number;
  headers: Headers;
  body: Uint8Array;
}
export interface PinnedOptions {
  /** For tests: what connects, and whom else to trust. */
  connect?: (options: { hostname: string; port: number }) => Promise<Deno.TcpConn>;
  caCerts?: string[];
}

/** A header block longer than this is no answer to a webhook. */
const maxHeadBytes = 65_536;

/** Rejects with a DOMException named TimeoutError when it takes longer than `timeoutMs` in all. */
export async function pinnedPost(request: PinnedRequest, options: PinnedOptions = {}): Promise<PinnedAnswer> {
  let open: Deno.Conn | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new DOMException("the time is over", "TimeoutError"));
      close(open);
    }, request.timeoutMs);
  });
  const work = async () => {
    open = await connect(request, options);
    await writeAll(open, encode(request));
    return await readAnswer(open, request.maxBytes);
  };
  const working = work();
  working.catch(() => {}); // after the time is over nobody waits for it
  try {
    return await Promise.race([working, late]);
  } finally {
    clearTimeout(timer);
    close(open);
  }
}

async function connect({ url, addresses }: PinnedRequest, options: PinnedOptions): Promise<Deno.TlsConn> {
  const dial = options.connect ?? Deno.connect;
  const port = Number(url.port || 443);
  let failure: unknown = new Error("there is no address to connect to");
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
    // The certificate is looked at here, before anything is sent.
    await secure.handshake();
    return secure;
  }
  throw failure;
}

function encode({ url, headers, body }: PinnedRequest): Uint8Array {
  const content = new TextEncoder().encode(body);
  const all = new Headers(headers); // refuses line breaks, so that no value can begin another header
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

/** Reads a connection by lines and by lengths. */
class Reader {
  #held = new Uint8Array(0);
  #ended = false;
  constructor(private readonly from: Deno.Conn) {}

  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const chunk = new Uint8Array(16_384);
    let count: number | null;
    try {
      count = await this.from.read(chunk);
    } catch (error) {
      // Servers that close without TLS's own goodbye are many; what they said counts.
      if (!(error instanceof Deno.errors.UnexpectedEof)) throw error;
      count = null;
    }
    if (count === null) this.#ended = true;
    else {
      const joined = new Uint8Array(this.#held.length + count);
      joined.set(this.#held);
      joined.set(chunk.subarray(0, count), this.#held.length);
      this.#held = joined;
    }
    return !this.#ended;
  }

  /** The next line without its end. */
  async line(): Promise<string> {
    let end: number;
    while ((end = this.#held.indexOf(10)) < 0) {
      if (this.#held.length > maxHeadBytes) throw new Error("the answer's headers are too long");
      if (!await this.#more()) throw new Error("the connection closed before the answer was whole");
    }
    const line = new TextDecoder("latin1").decode(this.#held.subarray(0, end)).replace(/\r$/, "");
    this.#held = this.#held.slice(end + 1);
    return line;
  }

  /** Up to `most` of the next bytes; fewer only where the connection ends. */
  async bytes(most: number): Promise<Uint8Array> {
    while (this.#held.length < most && await this.#more());
    const part = this.#held.slice(0, most);
    this.#held = this.#held.slice(most);
    return part;
  }
}

async function readAnswer(connection: Deno.Conn, maxBytes: number): Promise<PinnedAnswer> {
  const reader = new Reader(connection);
  for (;;) {
    const first = await reader.line();
    const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1]);
    if (!(status >= 100)) throw new Error("the answer is not HTTP");
    const headers = await readHeaders(reader);
    if (status < 200) continue; // 100, 103: the answer is still to come
    if (status === 204 || status === 304) return { status, headers, body: new Uint8Array(0) };
    return { status, headers, body: await readBody(reader, headers, maxBytes) };
  }
}

async function readHeaders(reader: Reader): Promise<Headers> {
  const headers = new Headers();
  let size = 0;
  for (let line = await reader.line(); line !== ""; line = await reader.line()) {
    size += line.length;
    if (size > maxHeadBytes) throw new Error("the answer's headers are too long");
    const colon = line.indexOf(":");
    try {
      if (colon > 0) headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
    } catch {
      // A header with a name or value that none may have: the rest of the answer is readable all the same.
    }
  }
  return headers;
}

async function readBody(reader: Reader, headers: Headers, most: number): Promise<Uint8Array> {
  if (!/\bchunked\b/i.test(headers.get("transfer-encoding") ?? "")) {
    const length = headers.get("content-length");
    return await reader.bytes(length === null ? most : Math.min(most, Number(length) || 0));
  }
  const body = new Uint8Array(most);
  let filled = 0;
  while (filled < most) {
    const length = parseInt(await reader.line(), 16);
    if (!(length > 0)) break;
    const part = await reader.bytes(Math.min(length, most - filled));
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
    // It was closed by the other side, or by the timer.
  }
}
