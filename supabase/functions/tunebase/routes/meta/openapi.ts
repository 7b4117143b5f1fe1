/** GET /openapi.json: the OpenAPI document, generated from the schemas that validate requests (`openapi/`). */
import * as z from "zod";
import type { ApiContext } from "../../context.ts";
import { defineRoute } from "../define.ts";

/** Loads the document on first use. */
export const loadDocument = async () =>
  (await import("../../openapi.json", { with: { type: "json" } })).default;

async function getOpenApi(c: ApiContext): Promise<Response> {
  const { settings } = c.get("platform");
  c.header("cache-control", "public, max-age=300");
  return c.json({
    ...await loadDocument(),
    servers: [{ url: `${settings.supabaseUrl}/functions/v1/tunebase` }],
  });
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/openapi.json",
    id: "getOpenApi",
    summary: "Get this OpenAPI document",
    scope: "none",
    response: {
      200: { description: "OpenAPI 3.1", content: { "application/json": () => z.looseObject({}) } },
    },
    handler: getOpenApi,
  }),
];
