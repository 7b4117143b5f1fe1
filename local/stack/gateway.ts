/**
 * Emulates Supabase's gateway on one port: requests for functions are proxied to their processes; Auth, Storage and
 * RunPod are handled in this process. Differs: plain HTTP on this machine only.
 */

type Handler = (request: Request) => Response | Promise<Response>;

export interface Gateway {
  port: number;
  stop(): Promise<void>;
}

/** Sends a request to a function; `path` begins with the function's name. Never rejects. */
type Forward = (request: Request, path: string) => Promise<Response>;

/** Routes by path prefix. `functions` returns the runner of a function. */
export function startGateway(
  port: number,
  routes: { prefix: string; handle: Handler }[],
  functions: (name: string) => { fetch: Forward } | undefined,
  hostname = "127.0.0.1",
): Gateway {
  const ending = new AbortController();
  const { signal } = ending;
  const server = Deno.serve({ hostname, port, signal, onListen: () => {} }, async (request) => {
    // fetch cannot forward these.
    if (["TRACE", "CONNECT"].includes(request.method)) {
      return new Response(null, { status: 405, headers: { allow: "GET, HEAD, POST, DELETE, OPTIONS" } });
    }
    const url = new URL(request.url);
    // Whole segments: `tunebase` is also a prefix of `tunebase-scheduler`.
    const route = routes.find(({ prefix }) => `${url.pathname}/`.startsWith(`${prefix}/`));
    if (route !== undefined) return await route.handle(request);
    const match = /^\/functions\/v1\/([^/]+)(\/.*)?$/.exec(url.pathname);
    if (match === null) {
      return Response.json({
        here: ["/dashboard/", "/functions/v1/tunebase", "/auth/v1", "/storage/v1", "/runpod/v2"],
      }, {
        status: url.pathname === "/" ? 200 : 404,
      });
    }
    const [, name = "", rest = ""] = match;
    const target = functions(name);
    if (target === undefined) {
      return Response.json({ code: "NOT_FOUND", message: "Requested function was not found" }, {
        status: 404,
      });
    }
    return await target.fetch(request, `/${name}${rest}${url.search}`);
  });
  return {
    port: server.addr.port,
    stop: async () => {
      // Not `shutdown`, which waits for open requests: event streams, or requests of killed clients.
      ending.abort();
      await server.finished;
    },
  };
}
