import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import {
  BlockedUrlError,
  checkAddress,
  checkUrl,
  isPublic,
  post,
} from "../../supabase/functions/_shared/safe_fetch.ts";
import { WebhookReceiver } from "../support/webhook_receiver.ts";

const strict = { allowLoopback: false };
const local = { allowLoopback: true };

/** The reason for rejection by the URL alone; resolving is not possible here. */
function refused(url: string, rules = strict): string | null {
  try {
    checkUrl(url, rules);
    return null;
  } catch (error) {
    if (error instanceof BlockedUrlError) return error.message;
    throw error;
  }
}

const privateHosts = [
  "127.0.0.1",
  "127.1",
  "2130706433",
  "0x7f000001",
  "0x7f.0.0.1",
  "0177.0.0.1",
  "017700000001",
  "１２７.０.０.１",
  "127.0.0.1.",
  "localhost",
  "LOCALHOST.",
  "a.localhost",
  "0.0.0.0",
  "0",
  "10.0.0.1",
  "172.16.0.1",
  "172.31.255.255",
  "192.168.1.1",
  "169.254.169.254",
  "2852039166", // 169.254.169.254 as one number
  "100.64.0.1",
  "100.127.255.255",
  "192.0.0.1",
  "192.0.2.1",
  "198.18.0.1",
  "198.51.100.1",
  "203.0.113.1",
  "224.0.0.1",
  "240.0.0.1",
  "255.255.255.255",
  "[::1]",
  "[::]",
  "[::127.0.0.1]",
  "[::ffff:127.0.0.1]",
  "[::ffff:10.0.0.1]",
  "[::ffff:a9fe:a9fe]",
  "[64:ff9b::10.0.0.1]",
  "[64:ff9b:1::1]",
  "[2002:7f00:1::]",
  "[2001:0:4136:e378::1]",
  "[2001:db8::1]",
  "[fc00::1]",
  "[fd12:3456::1]",
  "[fe80::1]",
  "[fec0::1]",
  "[ff02::1]",
  "[fd00:ec2::254]",
  "metadata",
  "metadata.google.internal",
  "printer.local",
  "db.internal",
  "host.lan",
];
for (const host of privateHosts) {
  Deno.test(`rejects https://${host}/`, () => {
    assert(refused(`https://${host}/`) !== null);
    assert(refused(`https://${host}:8443/x`) !== null);
  });
}

for (
  const [url, why] of [
    ["http://example.com/", "https://"],
    ["ftp://example.com/", "https://"],
    ["file:///etc/passwd", "https://"],
    ["javascript:alert(1)", "https://"],
    ["https://user:password@example.com/", "user name or password"],
    ["https://user@example.com/", "user name or password"],
    ["https://example.com:22/", "port 22"],
    ["https://example.com:5432/", "port 5432"],
    ["https://example.com:80/", "port 80"],
    ["https://example.com/#x", "fragment"],
    ["example.com", "absolute URL"],
    ["", "absolute URL"],
    ["https://", "absolute URL"],
    ["https://1.2.3.4.5.6.7.8.9:99999/", "absolute URL"],
  ] as const
) {
  Deno.test(`rejects ${url || "an empty URL"} with "${why}"`, () => {
    assertStringIncludes(refused(url) ?? "", why);
    assert(refused(url, local) !== null, "also where loopback is allowed");
  });
}

Deno.test("accepts public HTTPS addresses on ports 443 and 8443", () => {
  for (
    const url of [
      "https://example.com/hooks?a=b",
      "https://example.com:443/",
      "https://example.com:8443/",
      "https://93.184.215.14/",
      "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
      "https://xn--bcher-kva.example.com/",
    ]
  ) assertEquals(refused(url), null, url);
});

Deno.test("accepts loopback and HTTP only where the operator allows them, and only together", () => {
  for (
    const url of [
      "http://127.0.0.1:9/x",
      "http://localhost:1234/",
      "http://[::1]:80/",
      "https://127.0.0.1:9/",
    ]
  ) {
    assert(refused(url) !== null, url);
    assertEquals(refused(url, local), null, url);
  }
  for (const url of ["http://10.0.0.1/", "https://10.0.0.1/", "http://0.0.0.0/", "http://example.com/"]) {
    assert(refused(url, local) !== null, url);
  }
});

/** A resolver with these records. */
const names = (known: Record<string, string[]>) => (name: string, type: "A" | "AAAA") => {
  const found = known[`${name} ${type}`];
  return found === undefined ? Promise.reject(new Deno.errors.NotFound("no record")) : Promise.resolve(found);
};

Deno.test("rejects a host name if any of its addresses is private", async () => {
  const resolve = names({
    "good.example.com A": ["93.184.215.14"],
    "good.example.com AAAA": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c"],
    "six.example.com AAAA": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c"],
    "mixed.example.com A": ["93.184.215.14", "10.0.0.1"],
    "mapped.example.com A": ["93.184.215.14"],
    "mapped.example.com AAAA": ["::ffff:169.254.169.254"],
    "meta.example.com A": ["169.254.169.254"],
    "empty.example.com A": [],
  });
  const go = (host: string) => checkAddress(checkUrl(`https://${host}/`, strict), strict, resolve);
  await go("good.example.com");
  await go("six.example.com");
  for (const host of ["mixed", "mapped", "meta", "empty", "unknown"]) {
    const error = await assertRejects(() => go(`${host}.example.com`), host);
    assert(error instanceof BlockedUrlError, host);
  }
});

Deno.test("an invalid address is not public", () => {
  for (const text of ["", "x", "1.2.3", "999.1.1.1"]) {
    assertEquals(isPublic(text), text === "1.2.3" ? true : false);
  }
});

Deno.test("rejects a host name that resolves to a private address at send time", async () => {
  const answer = await post("https://rebound.example.com/", { headers: {}, body: "{}" }, strict, {
    resolve: names({ "rebound.example.com A": ["127.0.0.1"] }),
  });
  assertEquals(answer.status, null);
  assertStringIncludes(answer.error ?? "", "private or reserved");
});

const receiver = new WebhookReceiver();
Deno.test.afterAll(() => receiver.close());
const send = (path = "/", timeoutMs = 15_000) =>
  post(receiver.url + path, { headers: { "content-type": "application/json" }, body: "{}" }, local, {
    timeoutMs,
  });

Deno.test("redirects are not followed", async () => {
  receiver.answer = () =>
    new Response(null, { status: 307, headers: { location: `${receiver.url}/secret` } });
  const answer = await send("/start");
  assertEquals(answer.status, 307);
  assertEquals(receiver.at("/secret").length, 0);
});

Deno.test("keeps 4 KiB of the response and does not wait for the rest", async () => {
  let sent = 0;
  receiver.answer = () =>
    new Response(
      new ReadableStream<Uint8Array>({
        pull(controller) {
          sent += 1024;
          controller.enqueue(new TextEncoder().encode("\0é".repeat(341) + "x"));
        },
      }),
    );
  const answer = await send("/endless");
  assertEquals(answer.status, 200);
  const kept = new TextEncoder().encode((answer.body ?? "").replaceAll("\uFFFD", "\0")).length;
  assert(kept <= 4096 && kept > 4000, `${kept}`);
  assert(!answer.body?.includes("\0"));
  // Of the endless response, no more was sent than the socket buffers hold.
  assert(sent < 20_000_000, `${sent} bytes were sent`);
});

Deno.test("a timeout is reported as such", async () => {
  const late = Promise.withResolvers<Response>();
  receiver.answer = () => late.promise;
  const answer = await send("/slow", 200);
  late.resolve(new Response("late"));
  assertEquals([answer.status, answer.error], [null, "no response within 0.2 s"]);
  assert(answer.durationMs >= 190 && answer.durationMs < 3000, `${answer.durationMs} ms`);
});

Deno.test("a refused connection is an error that does not contain the address", async () => {
  const answer = await post("http://127.0.0.1:1/services/T0/B0/secret", { headers: {}, body: "" }, local);
  assertEquals(answer.status, null);
  assert(!answer.error?.includes("secret"), answer.error ?? "");
});

Deno.test("Retry-After is read as seconds or as a date, on 429 and 503 alone", async () => {
  const after = async (status: number, value: string) => {
    receiver.answer = () => new Response("", { status, headers: { "retry-after": value } });
    return (await send()).retryAfter;
  };
  assertEquals(await after(429, "120"), 120);
  assertEquals(await after(503, "7"), 7);
  assertEquals(await after(500, "7"), null);
  assertEquals(await after(429, "soon"), null);
  const date = await after(503, new Date(Date.now() + 60_000).toUTCString()) ?? 0;
  assert(date > 50 && date <= 60, `${date}`);
});

/** A key pair for hooks.example.com that only these tests trust. */
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgv4HUmQumyv4TlqUJ
wrRg3f+SIopikCelh2JXoMkrXo2hRANCAAR/XIhKihWYuG9Jxhz1D3y/ap3SVKr6
WiNHYaEwGf6I1GrINCZV6LocVVBTWLyIOe/T3ew0u24wZ/rWfbChyZlc
-----END PRIVATE KEY-----`;
const cert = `-----BEGIN CERTIFICATE-----
MIIBqTCCAVCgAwIBAgIUFMpjLqGNgAtqegdxK9xohLZ+vdkwCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRaG9va3MuZXhhbXBsZS5jb20wIBcNMjYxMTMwMDI0NTU3WhgP
MjEyNjExMDYwMjQ1NTdaMBwxGjAYBgNVBAMMEWhvb2tzLmV4YW1wbGUuY29tMFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf1yISooVmLhvScYc9Q98v2qd0lSq+loj
R2GhMBn+iNRqyDQmVei6HFVQU1i8iDnv093sNLtuMGf61n2wocmZXKNuMGwwHQYD
VR0OBBYEFNstF1mop2LFTSQtu+gShzM6pbuUMB8GA1UdIwQYMBaAFNstF1mop2LF
TSQtu+gShzM6pbuUMBwGA1UdEQQVMBOCEWhvb2tzLmV4YW1wbGUuY29tMAwGA1Ud
EwEB/wQCMAAwCgYIKoZIzj0EAwIDRwAwRAIgRA77pN7ZtDUnT6pXkgEFGk8IxM8M
NqXQVPqdI6Z+BhUCIAOFho218Jet/9zOXdF34jose0Js+wyJVtY50H1KbTE7
-----END CERTIFICATE-----`;

/** A TLS server that answers with exactly these bytes, behind a checked public address. */
async function pinned(answer: string | null, host = "hooks.example.com", timeoutMs = 5_000) {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, key, cert });
  let heard = "";
  const serving = (async () => {
    for await (const connection of listener) {
      try {
        const chunk = new Uint8Array(65_536);
        heard += new TextDecoder().decode(chunk.subarray(0, await connection.read(chunk) ?? 0));
        if (answer === null) continue;
        await connection.write(new TextEncoder().encode(answer));
        connection.close();
      } catch {
        // The client rejected the certificate.
      }
    }
  })();
  const dialed: string[] = [];
  const sent = await post(`https://${host}/hook?a=b`, { headers: { "x-one": "1" }, body: "{}" }, strict, {
    timeoutMs,
    resolve: names({ [`${host} A`]: ["93.184.215.14"] }),
    connect: ({ hostname, port }) => {
      dialed.push(`${hostname}:${port}`);
      return Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
    },
    caCerts: [cert],
  });
  listener.close();
  await serving;
  return { sent, heard, dialed };
}

Deno.test("connects to the checked address, and the certificate must match the host name", async () => {
  const { sent, heard, dialed } = await pinned("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokay");
  assertEquals([sent.status, sent.body, sent.error], [200, "ok", null]);
  assertEquals(dialed, ["93.184.215.14:443"]);
  assertStringIncludes(heard, "POST /hook?a=b HTTP/1.1\r\n");
  for (const line of ["host: hooks.example.com", "x-one: 1", "content-length: 2"]) {
    assertStringIncludes(heard, `${line}\r\n`);
  }
  const other = await pinned("HTTP/1.1 200 OK\r\n\r\n", "other.example.com");
  assertEquals([other.sent.status, other.heard], [null, ""]);
  assertStringIncludes(other.sent.error ?? "", "the request failed");
});

Deno.test("TLS responses are read with any framing, and non-HTTP is an error", async () => {
  const of = async (answer: string) => (await pinned(answer)).sent;
  const chunked = await of(
    "HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 429 Wait\r\nretry-after: 9\r\nTransfer-Encoding: chunked\r\n\r\n" +
      "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
  );
  assertEquals([chunked.status, chunked.body, chunked.retryAfter], [429, "abcde", 9]);
  assertEquals((await of("HTTP/1.1 204 No\r\n\r\n")).status, 204);
  assertEquals((await of("HTTP/1.0 500 x\r\n\r\nto the end")).body, "to the end");
  assertEquals((await of(`HTTP/1.1 200 OK\r\n\r\n${"x".repeat(9000)}`)).body?.length, 4096);
  assertEquals((await of("HTTP/1.1 302 Go\r\nlocation: https://10.0.0.1/\r\n\r\n")).status, 302);
  for (
    const wrong of ["SSH-2.0-x\r\n", "HTTP/1.1 200", `HTTP/1.1 200 OK\r\na: ${"x".repeat(70_000)}\r\n\r\n`]
  ) {
    assertStringIncludes((await of(wrong)).error ?? "", "the request failed");
  }
});

Deno.test("a TLS timeout is reported as such", async () => {
  const { sent } = await pinned(null, "hooks.example.com", 300);
  assertEquals([sent.status, sent.error], [null, "no response within 0.3 s"]);
});
