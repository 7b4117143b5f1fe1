/**
 * Requests to URLs that clients choose (webhooks, Slack), protected against SSRF: they must not reach a private network.
 *
 * A URL is checked when it is stored and again before each request: its form first, then every address that its host
 * resolves to. The connection goes to a checked address, not to the host name (`pinned_post.ts`), and redirects are not
 * followed.
 */
import ipaddr from "ipaddr.js";
import { type PinnedOptions, pinnedPost } from "./pinned_post.ts";
import type { Settings } from "./platform.ts";

/** A URL that is not allowed. The message says why, as the rest of a sentence that begins with the URL. */
export class BlockedUrlError extends Error {}

/** The outcome of a request: a response, or why there is none. */
export interface HttpResult {
  status: number | null;
  /** The first 4 KiB of the body. */
  body: string | null;
  error: string | null;
  /** Seconds, from the `retry-after` of a 429 or 503. */
  retryAfter: number | null;
  durationMs: number;
}

type Resolve = (name: string, type: "A" | "AAAA") => Promise<string[]>;
type Rules = Pick<Settings, "allowLoopback">;

const ports = ["", "443", "8443"];
const maxBodyBytes = 4096;

/** A result without a response. */
export const failedResult = (error: string, durationMs = 0): HttpResult => ({
  status: null,
  body: null,
  error,
  retryAfter: null,
  durationMs,
});

/**
 * Parses a URL and checks its form: https, no credentials, port 443 or 8443, no private address or name. If the operator
 * allows loopback, http and any port are allowed for this machine. Throws BlockedUrlError.
 */
export function checkUrl(text: string, { allowLoopback }: Rules): URL {
  if (!URL.canParse(text)) {
    throw new BlockedUrlError("must be an absolute URL, such as https://example.com/hooks");
  }
  // The parser turns 0x7f.1, 2130706433 and 0177.0.0.1 into 127.0.0.1, and full-width digits too.
  const url = new URL(text);
  const host = bareHost(url);
  if (url.username !== "" || url.password !== "") {
    throw new BlockedUrlError("must not contain a user name or password; verify the signature instead");
  }
  if (url.hash !== "") throw new BlockedUrlError("must not have a fragment (#…), which is never sent");
  if (isLoopbackHost(host)) {
    if (!allowLoopback) throw new BlockedUrlError("must not point to the server itself (loopback)");
    if (url.protocol !== "http:" && url.protocol !== "https:") {
      throw new BlockedUrlError("must start with https://");
    }
    return url;
  }
  if (url.protocol !== "https:") throw new BlockedUrlError("must start with https://");
  if (!ports.includes(url.port)) {
    throw new BlockedUrlError(`has port ${url.port}; only 443 and 8443 are allowed`);
  }
  const literal = ipaddr.isValid(host);
  if (literal && !isPublic(host)) {
    throw new BlockedUrlError("must not point to a private or reserved address");
  }
  // Single labels and these suffixes are names in private networks.
  if (!literal && (!host.includes(".") || /\.(local|internal|lan|home|corp|localdomain)$/.test(host))) {
    throw new BlockedUrlError("must have a public host name");
  }
  return url;
}

/**
 * Resolves the URL's host. Returns an empty list for this machine, if loopback is allowed. Throws BlockedUrlError unless
 * every address is public.
 */
export async function checkAddress(
  url: URL,
  { allowLoopback }: Rules,
  resolve: Resolve = Deno.resolveDns,
): Promise<string[]> {
  const host = bareHost(url);
  if (allowLoopback && isLoopbackHost(host)) return [];
  if (ipaddr.isValid(host)) return [host]; // checked by checkUrl
  const found = await Promise.allSettled([resolve(host, "A"), resolve(host, "AAAA")]);
  const addresses = found.flatMap((result) => result.status === "fulfilled" ? result.value : []);
  if (addresses.length === 0) throw new BlockedUrlError(`${host} cannot be resolved`);
  const bad = addresses.find((address) => !isPublic(address));
  if (bad !== undefined) throw new BlockedUrlError(`${host} resolves to a private or reserved address`);
  return addresses;
}

/**
 * Whether an address is public. IPv6 must be within 2000::/3, the allocated range: addresses outside it can embed a
 * private IPv4 address (::127.0.0.1, ::ffff:10.0.0.1, 64:ff9b::…). ipaddr.js knows the special ranges inside it (6to4,
 * Teredo, documentation).
 */
export function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== "unicast") return false;
  return parsed.kind() === "ipv4" || parsed.match(ipaddr.parse("2000::"), 3);
}

/** Sends a POST and reads the start of the response. Never throws; `timeoutMs` covers everything. */
export async function post(
  target: string,
  request: { headers: Record<string, string>; body: string },
  rules: Rules,
  { timeoutMs = 15_000, resolve, ...pinned }: { timeoutMs?: number; resolve?: Resolve } & PinnedOptions = {},
): Promise<HttpResult> {
  const start = performance.now();
  const elapsed = () => Math.round(performance.now() - start);
  try {
    const url = checkUrl(target, rules);
    const addresses = await checkAddress(url, rules, resolve);
    const { status, headers, body } = addresses.length === 0
      ? await fetchLocal(url, request, timeoutMs)
      : await pinnedPost({ url, addresses, ...request, timeoutMs, maxBytes: maxBodyBytes }, pinned);
    const after = [429, 503].includes(status) ? headers.get("retry-after") : null;
    return {
      status,
      // Postgres cannot store NUL.
      body: new TextDecoder().decode(body).replaceAll("\0", "\uFFFD"),
      error: null,
      retryAfter: after === null ? null : seconds(after),
      durationMs: elapsed(),
    };
  } catch (error) {
    return failedResult(reasonOf(error, target, timeoutMs), elapsed());
  }
}

function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "").toLowerCase();
}

function isLoopbackHost(host: string): boolean {
  if (host === "localhost" || host.endsWith(".localhost")) return true;
  return ipaddr.isValid(host) && ipaddr.parse(host).range() === "loopback";
}

/** A request to this machine, if the operator allows loopback (development). */
async function fetchLocal(
  url: URL,
  request: { headers: Record<string, string>; body: string },
  timeoutMs: number,
): Promise<{ status: number; headers: Headers; body: Uint8Array }> {
  const response = await fetch(url, {
    method: "POST",
    ...request,
    redirect: "manual",
    signal: AbortSignal.timeout(timeoutMs),
  });
  return { status: response.status, headers: response.headers, body: await readStart(response) };
}

/** Reads the first 4 KiB and cancels the rest. */
async function readStart(response: Response): Promise<Uint8Array> {
  const kept = new Uint8Array(maxBodyBytes);
  let length = 0;
  const reader = response.body?.getReader();
  while (reader !== undefined && length < maxBodyBytes) {
    const { value, done } = await reader.read();
    if (done) break;
    const part = value.subarray(0, maxBodyBytes - length);
    kept.set(part, length);
    length += part.length;
  }
  // The response is valid even if cancelling the rest of it fails.
  await reader?.cancel().catch(() => {});
  return kept.subarray(0, length);
}

/** `retry-after` in seconds: a number, or a date. */
function seconds(value: string): number | null {
  const number = /^\d+$/.test(value.trim()) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(number) && number > 0 ? number : null;
}

function reasonOf(error: unknown, target: string, timeoutMs: number): string {
  if (error instanceof BlockedUrlError) return `the URL is not allowed: it ${error.message}`;
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return `no response within ${timeoutMs / 1000} s`;
  }
  // Deno's message names the URL, which can be a secret (Slack's).
  const text = error instanceof Error ? error.message : String(error);
  return `the request failed: ${
    text.replaceAll(target, "the URL").replace(/https?:\/\/\S+/g, "the URL").slice(0, 300)
  }`;
}
