/** GET /openapi.json: the API's description, made of the schemas that check its requests (`api/openapi/`). */
import document from "../openapi.json" with { type: "json" };
import type { ApiContext } from "../context.ts";

export function getOpenApi(c: ApiContext): Response {
  const { settings } = c.get("platform");
  c.header("cache-control", "public, max-age=300");
  return c.json({ ...document, servers: [{ url: `${settings.supabaseUrl}/functions/v1/api` }] });
}
