/** Aborting the body of a response after the garbage collector has run, in a process that can run it. */
import { assertEquals } from "#assert";
import { root } from "../../local/state_dir.ts";
import { abortable } from "../../supabase/functions/_shared/abortable.ts";

const script = `
import { abortable } from ${
  JSON.stringify(new URL("../../supabase/functions/_shared/abortable.ts", import.meta.url).href)
};
let cancelled = false;
const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () =>
  new Response(new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      controller.enqueue(new Uint8Array(1));
    },
    cancel() { cancelled = true; },
  })));
/** Only the reader outlives this call. */
async function start() {
  const client = new AbortController();
  setTimeout(() => client.abort("too long"), 600);
  const signal = AbortSignal.any([client.signal, AbortSignal.timeout(60_000)]);
  const response = await fetch("http://127.0.0.1:" + server.addr.port, { signal });
  return abortable(response, signal).body.getReader();
}
const reader = await start();
await reader.read();
for (let i = 0; i < 5; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 20)); }
let ended = "never";
for (const end = Date.now() + 2000; Date.now() < end && ended === "never";) {
  await reader.read().catch((reason) => ended = String(reason));
}
for (const end = Date.now() + 2000; Date.now() < end && !cancelled;) await new Promise((resolve) => setTimeout(resolve, 20));
console.log(JSON.stringify({ ended, cancelled }));
Deno.exit(0);
`;

Deno.test("an aborted stream ends even after a garbage collection", async () => {
  const file = await Deno.makeTempFile({ suffix: ".js" });
  await Deno.writeTextFile(file, script);
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--quiet", `--config=${root}deno.json`, "--v8-flags=--expose-gc", file],
    env: { NO_COLOR: "1" },
  }).output();
  await Deno.remove(file);
  const text = new TextDecoder();
  assertEquals(JSON.parse(text.decode(stdout) || text.decode(stderr)), {
    ended: "too long",
    cancelled: true,
  });
});

Deno.test("a body that has ended, failed or been cancelled no longer listens to its signal", async () => {
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...all: Parameters<typeof addEventListener>) => {
    listeners += 1;
    addEventListener.apply(signal, all);
  };
  signal.removeEventListener = (...all: Parameters<typeof removeEventListener>) => {
    listeners -= 1;
    removeEventListener.apply(signal, all);
  };
  const open = (body: BodyInit) => abortable(new Response(body), signal);

  const whole = open("all of it");
  assertEquals(listeners, 1);
  assertEquals(await whole.text(), "all of it");
  assertEquals(listeners, 0);

  await open("some of it").body?.cancel();
  assertEquals(listeners, 0);

  const broken = new ReadableStream({ pull: () => Promise.reject(new Error("reset")) });
  assertEquals(await open(broken).text().catch((error) => error.message), "reset");
  assertEquals(listeners, 0);
});
