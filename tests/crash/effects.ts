/** Names of a function's effects. */

/** `sql claim_dispatch` of `select tunebase_internal.claim_dispatch(…)`. */
export function sqlName(query: string): string {
  return `sql ${/tunebase_internal\.(\w+)\(/.exec(query)?.[1] ?? query.trim().slice(0, 40)}`;
}

/** `runpod run`, `storage move`, `nudge` …; `outgoing POST` to subscribers. */
export function fetchName(input: RequestInfo | URL, init?: RequestInit): string {
  const method = init?.method ?? (input instanceof Request ? input.method : "GET");
  const { pathname } = new URL(input instanceof Request ? input.url : input);
  const runpod = /^\/runpod\/v2\/[^/]+\/(\w+)/.exec(pathname)?.[1];
  if (runpod !== undefined) return `runpod ${runpod}`;
  const engine = /^\/runpod\/lb\/[^/]+\/(.+)/.exec(pathname)?.[1];
  if (engine !== undefined) return `engine ${engine}`;
  if (pathname.endsWith("/functions/v1/tunebase-scheduler/tick")) return "nudge";
  if (pathname.startsWith("/storage/v1/upload/resumable")) {
    return `storage copy ${method === "POST" ? "begun" : method === "PATCH" ? "written" : "asked for"}`;
  }
  const object = /^\/storage\/v1\/object\/(.*)$/.exec(pathname)?.[1];
  if (object === undefined) return `outgoing ${method}`;
  if (object === "move") return "storage move";
  if (object.startsWith("info/")) return "storage exists";
  if (method === "GET") return "storage read";
  if (method === "DELETE") return "storage remove";
  if (object.startsWith("upload/sign/")) return "storage sign upload";
  return object.startsWith("sign/") ? "storage sign" : "storage upload";
}
