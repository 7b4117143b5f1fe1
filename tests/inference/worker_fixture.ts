/** A worker for the load balancer's tests whose behavior is set by the path. `LOAD_MS`: how long /ping returns 204. */
const loaded = Date.now() + Number(Deno.env.get("LOAD_MS") ?? 0);
if (Deno.env.get("CRASH_AT_START") === "1") Deno.exit(3);
let cancelled = 0;

Deno.serve(
  { hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen: () => {} },
  async (request) => {
    const url = new URL(request.url);
    if (url.pathname === "/ping") return new Response(null, { status: Date.now() < loaded ? 204 : 200 });
    if (url.pathname === "/crash") Deno.exit(1);
    if (url.pathname === "/cancelled") return Response.json({ cancelled });
    if (url.pathname === "/wait") {
      await new Promise((resolve) => setTimeout(resolve, Number(url.searchParams.get("ms"))));
      return new Response("waited");
    }
    if (url.pathname === "/stream") {
      const dies = url.searchParams.has("dies");
      let sent = 0;
      return new Response(
        new ReadableStream({
          async pull(controller) {
            await new Promise((resolve) => setTimeout(resolve, 20));
            if (dies && sent > 2) Deno.exit(1);
            controller.enqueue(new TextEncoder().encode(`data: ${sent++}\n\n`));
          },
          cancel() {
            cancelled += 1;
          },
        }),
        { headers: { "content-type": "text/event-stream" } },
      );
    }
    const body = await request.text();
    return Response.json({
      path: url.pathname + url.search,
      method: request.method,
      token: request.headers.get("x-tunebase-token"),
      bytes: body.length,
      pid: Deno.pid,
    }, { status: url.pathname === "/teapot" ? 418 : 200 });
  },
);
