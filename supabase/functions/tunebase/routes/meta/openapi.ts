/** GET /openapi.json: the API's description, made of the schemas that check its requests (`api/openapi/`). */
import type { ApiContext } from "../../context.ts";

/** The document; loaded when somebody asks for it. */
export const loadDocument = async () =>
  (await import("../../openapi.json", { with: { type: "json" } })).default;

export async function getOpenApi(c: ApiContext): Promise<Response> {
  const { settings } = c.get("platform");
  c.header("cache-control", "public, max-age=300");
  return c.json({
    ...await loadDocument(),
    servers: [{ url: `${settings.supabaseUrl}/functions/v1/tunebase` }],
  });
}
