/** How the embedded stack takes and releases its ports. */
import { assertEquals, assertRejects } from "#assert";
import { startGateway } from "../../local/stack/gateway.ts";
import { freePort, namedPort } from "../../local/state_dir.ts";

Deno.test("a port in use is rejected immediately, naming the setting to change", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const error = await assertRejects(() => namedPort(port, "TUNEBASE_PORT"), Error);
  assertEquals(
    error.message,
    `Port ${port} is in use. Set TUNEBASE_PORT to another one (or 0 for any that is free), or stop what uses it.`,
  );
});

Deno.test("a port in use by an outgoing connection is waited for", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using client = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  const accepted = await listener.accept();
  const { port } = client.localAddr;
  await assertRejects(async () => await Promise.resolve(freePort(port, "")), Error, "is in use");
  const lines: string[] = [];
  const waiting = namedPort(port, "TUNEBASE_PORT", (line) => lines.push(line));
  await new Promise((resolve) => setTimeout(resolve, 700));
  assertEquals(lines, [`port ${port} is held by a connection that has ended; waiting up to a minute …`]);
  // The side that closes first keeps the port for a minute: here the other end.
  accepted.close();
  await client.read(new Uint8Array(1));
  client.close();
  assertEquals(await waiting, port);
});

Deno.test("the gateway stops immediately despite an endless stream", async () => {
  const handle = () => new Response(new ReadableStream({ start: (to) => to.enqueue(new Uint8Array(1)) }));
  const gateway = startGateway(0, [{ prefix: "/stream", handle }], () => undefined);
  const response = await fetch(`http://127.0.0.1:${gateway.port}/stream`);
  const reader = response.body?.getReader();
  await reader?.read();
  await gateway.stop();
  await assertRejects(async () => await reader?.read());
});
