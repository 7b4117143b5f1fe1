/**
 * Preloaded into a function's process: what the platform's runtime adds to Deno. `EdgeRuntime.waitUntil` keeps a retired
 * isolate alive, and `beforeunload` fires shortly before the wall-clock limit. The runner uses a path that the gateway
 * does not forward.
 */
import { runtimePath } from "./control_path.ts";

let pending = 0;

Object.defineProperty(globalThis, "EdgeRuntime", {
  value: {
    waitUntil(work: Promise<unknown>): void {
      pending += 1;
      work.catch(() => {}).finally(() => pending -= 1);
    },
  },
});

const serve = Deno.serve;
type Handler = (request: Request) => Response | Promise<Response>;

/** `Deno.serve(handler)`, the only form that the functions use. */
function serveIsolate(handler: Handler): Deno.HttpServer {
  return serve((request) => {
    if (!request.url.endsWith(runtimePath)) return handler(request);
    if (request.method === "POST") {
      dispatchEvent(new CustomEvent("beforeunload", { cancelable: true, detail: { reason: "wall_clock" } }));
    }
    return Response.json({ pending });
  });
}
Object.defineProperty(Deno, "serve", { value: serveIsolate });
