/** An emulated RunPod account behind an HTTP server, whose endpoints run the tests' workers. Records requests. */
import { createRunpodRest, type RunpodRestOptions } from "../../local/emulators/runpod/rest.ts";
import { fromFileUrl } from "../../local/paths.ts";
import { denoEnvironment } from "../../local/stack/environment.ts";

const program = (path: string) => ({
  command: [Deno.execPath(), "run", "-A", "--no-check", fromFileUrl(new URL(path, import.meta.url))],
  cwd: ".",
});

export interface Exchange {
  method: string;
  path: string;
  request: unknown;
  status: number;
  response: unknown;
}

export async function startRunpodAccount(options: Partial<RunpodRestOptions> = {}) {
  const home = options.home ?? await Deno.makeTempDir();
  const exchanges: Exchange[] = [];
  /** The number of changes before the one whose response is lost. */
  let crashIn = Infinity;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname, search } = new URL(request.url);
    if (!pathname.startsWith("/runpod-rest/")) return await account.fetch(request);
    const body = await request.clone().text();
    const response = await account.fetch(request);
    const text = await response.clone().text();
    exchanges.push({
      method: request.method,
      path: `${pathname.slice("/runpod-rest".length)}${search}`,
      request: parsed(body),
      status: response.status,
      response: parsed(text),
    });
    if (request.method !== "GET" && --crashIn === 0) {
      return Response.json({ title: "Not Implemented", status: 501, detail: "lost" }, { status: 501 });
    }
    return response;
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  const account = await createRunpodRest({
    home,
    apiKey: "rpa_key",
    workerKey: "worker-key",
    url,
    log: () => {},
    workerEnv: { ...denoEnvironment(), DENO_NO_UPDATE_CHECK: "1", ...options.workerEnv },
    programs: {
      QUEUE: program("./queue_worker_fixture.ts"),
      LOAD_BALANCER: program("../inference/worker_fixture.ts"),
    },
    ...options,
  });
  return {
    home,
    url,
    rest: `${url}/runpod-rest/v2`,
    account,
    exchanges,
    /** Loses the response of the nth change from now on. */
    crashAtChange: (change: number) => crashIn = change,
    /** Calls the REST API. */
    async ask(method: string, path: string, body?: unknown, key = "rpa_key") {
      const response = await fetch(`${url}/runpod-rest/v2${path}`, {
        method,
        headers: { authorization: `Bearer ${key}` },
        body: body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body),
      });
      const text = await response.text();
      return { status: response.status, type: response.headers.get("content-type"), body: parsed(text) };
    },
    async [Symbol.asyncDispose]() {
      await account.stop();
      await server.shutdown();
      if (options.home === undefined) await Deno.remove(home, { recursive: true });
    },
  };
}

/** JSON, or the text. */
function parsed(text: string) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
