/**
 * Loaded into a function's process before the function: what the platform's runtime adds to Deno. `EdgeRuntime.waitUntil`
 * keeps a retired isolate alive, and `beforeunload` comes shortly before its wall clock is over. The runner talks to it
 * over a path that the gateway does not let through.
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
