/** GET /health: whether the database and Storage are reachable. */
import { buckets } from "../../../_shared/contracts/buckets.ts";
import { unavailable } from "../../../_shared/storage.ts";
import type { ApiContext } from "../../context.ts";
import { defineRoute } from "../define.ts";

async function health(c: ApiContext): Promise<Response> {
  const { db, supabase } = c.get("platform");
  const [database, storage] = await Promise.allSettled([
    db.value("select 1", []),
    supabase.storage.getBucket(buckets.adapters).then(({ error }) => {
      if (error !== null) throw unavailable("reading the adapters bucket", error);
    }),
  ]);
  const parts = { database: database.status === "fulfilled", storage: storage.status === "fulfilled" };
  const ok = parts.database && parts.storage;
  const word = (up: boolean) => up ? "ok" : "unreachable";
  return c.json(
    { status: ok ? "ok" : "degraded", database: word(parts.database), storage: word(parts.storage) },
    ok ? 200 : 503,
  );
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/health",
    id: "getHealth",
    summary: "Check service health",
    scope: "none",
    response: {
      200: { description: "All dependencies are reachable", content: { "application/json": "Health" } },
      503: { description: "A dependency cannot be reached", content: { "application/json": "Health" } },
    },
    handler: health,
  }),
];
