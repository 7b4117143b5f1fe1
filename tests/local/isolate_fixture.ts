/** A function that uses CPU, memory or time on request, for the runner's tests. */
import process from "node:process";

declare const EdgeRuntime: { waitUntil(work: Promise<unknown>): void } | undefined;

const kept: Uint8Array[] = [];
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Computes until this process has used the given CPU time, which takes longer on a busy machine. */
function burn(ms: number): void {
  const used = () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  };
  for (const end = used() + ms; used() < end;);
}

const streams = new Set<() => void>();
addEventListener("beforeunload", () => {
  for (const end of streams) end();
});

function stream(): Response {
  let timer: ReturnType<typeof setInterval>;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      timer = setInterval(() => controller.enqueue(new TextEncoder().encode("alive\n")), 20);
      streams.add(() => {
        clearInterval(timer);
        controller.enqueue(new TextEncoder().encode("bye\n"));
        controller.close();
      });
    },
    cancel: () => clearInterval(timer),
  });
  return new Response(body);
}

Deno.serve(async (request) => {
  const { pathname, searchParams } = new URL(request.url);
  const ms = Number(searchParams.get("ms") ?? 0);
  switch (pathname) {
    case "/test/burn":
      burn(ms);
      return new Response(String(Deno.pid));
    case "/test/wait":
      await wait(ms);
      return new Response(String(Deno.pid));
    case "/test/stream":
      return stream();
    case "/test/later":
      if (typeof EdgeRuntime !== "undefined") EdgeRuntime.waitUntil(wait(ms));
      return new Response(typeof EdgeRuntime);
    case "/test/grow":
      for (let mb = 0; mb < Number(searchParams.get("mb")); mb += 8) {
        kept.push(new Uint8Array(8 * 2 ** 20).fill(1));
        await wait(5);
      }
      return new Response(String(Deno.pid));
    default:
      return new Response(String(Deno.pid), { status: pathname === "/test/pid" ? 200 : 404 });
  }
});
