/**
 * Requests to addresses that clients have named: webhooks, Slack. Nothing of the house's own network may be reached
 * through them (SSRF).
 *
 * An address is checked when it is stored and again at each send: its form, then every address that its name resolves
 * to. The connection goes to an address that was checked, not to the name (`pinned_post.ts`), and no redirect is followed.
 */
import ipaddr from "ipaddr.js";
import { type PinnedOptions, pinnedPost } from "./pinned_post.ts";
import type { Settings } from "./platform.ts";

/** A refused address; the message says what is wrong with it and what to do. */
export class BlockedUrlError extends Error {}

/** What became of a request: an answer, or why there is none. */
export interface Answer {
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
const bodyBytes = 4096;

/**
 * The URL, if its form is allowed: https, no credentials, port 443 or 8443, and no address or name of a private
 * network. http and any port are allowed on this machine where the operator allows loopback. Throws BlockedUrlError.
 */
export function checkUrl(text: string, { allowLoopback }: Rules): URL {
  if (!URL.canParse(text)) {
    throw new BlockedUrlError("must be a whole URL, such as https://example.com/hooks");
  }
  // The parser turns 0x7f.1, 2130706433 and 0177.0.0.1 into 127.0.0.1, and full-width digits too.
  const url = new URL(text);
  const host = bareHost(url);
  if (url.username !== "" || url.password !== "") {
    throw new BlockedUrlError("must not hold a user or password; check the signature instead");
  }
  if (url.hash !== "") throw new BlockedUrlError("must not have a fragment (#…): it would not be sent");
  if (isLoopbackHost(host)) {
    if (!allowLoopback) throw new BlockedUrlError("must not lead to the server itself (loopback)");
    if (url.protocol !== "http:" && url.protocol !== "https:") {
      throw new BlockedUrlError("must begin with https://");
    }
    return url;
  }
  if (url.protocol !== "https:") throw new BlockedUrlError("must begin with https://");
  if (!ports.includes(url.port)) throw new BlockedUrlError(`has port ${url.port}; allowed are 443 and 8443`);
  const literal = ipaddr.isValid(host);
  if (literal && !isPublic(host)) throw new BlockedUrlError("must not lead to a private or reserved address");
  // A single label and these endings are names inside somebody's network.
  if (!literal && (!host.includes(".") || /\.(local|internal|lan|home|corp|localdomain)$/.test(host))) {
    throw new BlockedUrlError("must have a public host name");
  }
  return url;
}

/**
 * The addresses that the URL's name resolves to; the URL's own where it has one. Empty for this machine, where that is
 * allowed. Throws BlockedUrlError unless every one of them is public.
 */
export async function checkAddress(
  url: URL,
  { allowLoopback }: Rules,
  resolve: Resolve = Deno.resolveDns,
): Promise<string[]> {
  const host = bareHost(url);
  if (allowLoopback && isLoopbackHost(host)) return [];
  if (ipaddr.isValid(host)) return [host]; // checkUrl has looked at it
  const found = await Promise.allSettled([resolve(host, "A"), resolve(host, "AAAA")]);
  const addresses = found.flatMap((result) => result.status === "fulfilled" ? result.value : []);
  if (addresses.length === 0) throw new BlockedUrlError(`${host} cannot be resolved`);
  const bad = addresses.find((address) => !isPublic(address));
  if (bad !== undefined) throw new BlockedUrlError(`${host} leads to a private or reserved address`);
  return addresses;
}

/**
 * Whether an address is one of the public Internet. IPv6 counts only within 2000::/3, the part that is given out, so
 * that what embeds an IPv4 address elsewhere (::127.0.0.1, ::ffff:10.0.0.1, 64:ff9b::…) is refused whole; the
 * library knows the special ranges inside it (6to4, Teredo, documentation).
 */
export function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== "unicast") return false;
  return parsed.kind() === "ipv4" || parsed.match(ipaddr.parse("2000::"), 3);
}

/** POSTs and reads what comes back; never throws. 15 s for all of it, no redirect is followed. */
export async function post(
  target: string,
  request: { headers: Record<string, string>; body: string },
  rules: Rules,
  { timeoutMs = 15_000, resolve, ...pinned }: { timeoutMs?: number; resolve?: Resolve } & PinnedOptions = {},
): Promise<Answer> {
  const begin = performance.now();
  const done = (answer: Partial<Answer>): Answer => ({
    status: null,
    body: null,
    error: null,
    retryAfter: null,
    ...answer,
    durationMs: Math.round(performance.now() - begin),
  });
  try {
    const url = checkUrl(target, rules);
    const addresses = await checkAddress(url, rules, resolve);
    const { status, headers, body } = addresses.length === 0
      ? await fetchLocal(url, request, timeoutMs)
      : await pinnedPost({ url, addresses, ...request, timeoutMs, maxBytes: bodyBytes }, pinned);
    const after = [429, 503].includes(status) ? headers.get("retry-after") : null;
    return done({
      status,
      // As text that Postgres takes.
      body: new TextDecoder().decode(body).replaceAll("\0", "\uFFFD"),
      retryAfter: after === null ? null : seconds(after),
    });
  } catch (error) {
    return done({ error: reasonOf(error, target, timeoutMs) });
  }
}

function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "").toLowerCase();
}

function isLoopbackHost(host: string): boolean {
  if (host === "localhost" || host.endsWith(".localhost")) return true;
  return ipaddr.isValid(host) && ipaddr.parse(host).range() === "loopback";
}

/** To this machine, where the operator allows it (development): http, and no name that could lead elsewhere. */
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
  return { status: response.status, headers: response.headers, body: await beginningOf(response) };
}

/** The first 4 KiB; the rest is not read. */
async function beginningOf(response: Response): Promise<Uint8Array> {
  const kept = new Uint8Array(bodyBytes);
  let length = 0;
  const reader = response.body?.getReader();
  while (reader !== undefined && length < bodyBytes) {
    const { value, done } = await reader.read();
    if (done) break;
    const part = value.subarray(0, bodyBytes - length);
    kept.set(part, length);
    length += part.length;
  }
  // The answer counts, whether or not the rest of it can be given up in order.
  await reader?.cancel().catch(() => {});
  return kept.subarray(0, length);
}

/** `retry-after` in seconds: a number, or a date. */
function seconds(value: string): number | null {
  const number = /^\d+$/.test(value.trim()) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(number) && number > 0 ? number : null;
}

function reasonOf(error: unknown, target: string, timeoutMs: number): string {
  if (error instanceof BlockedUrlError) return `the address is not allowed: it ${error.message}`;
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return `no answer within ${timeoutMs / 1000} s`;
  }
  // Deno's own words name the URL, which can be a secret (Slack's).
  const text = error instanceof Error ? error.message : String(error);
  return `the request failed: ${
    text.replaceAll(target, "the address").replace(/https?:\/\/\S+/g, "the address").slice(0, 300)
  }`;
}
