/** POST /webhook_endpoints/{id}/rotate_secret: rotates the signing secret, optionally keeping the old one for a day. */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { renderEndpoint } from "../../serializers/webhooks.ts";
import { EndpointRow } from "../../rows.ts";
import { endpointId } from "./endpoints.ts";
import { defineRoute } from "../define.ts";

export const Body = strictObject({ keep_old_secret_active_for_24_hours: z.boolean().default(false) });

async function rotateSecret(c: ApiContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const id = endpointId(c);
  const body = parseOrThrow(Body, await jsonBody(c.req) ?? {});
  const row = await rpc(db, "rotate_webhook_secret", {
    caller: c.get("caller"),
    id,
    keep_old: body.keep_old_secret_active_for_24_hours,
  }, EndpointRow);
  c.set("version", row.version);
  return c.json(await renderEndpoint(row, settings.masterKey, true));
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/webhook_endpoints/{id}/rotate_secret",
    id: "rotateWebhookSecret",
    summary: "Rotate the signing secret",
    scope: "webhooks:write",
    body: Body,
    example: { keep_old_secret_active_for_24_hours: true },
    response: "WebhookEndpoint",
    errors: ["webhook_endpoint_not_found", "project_archived"],
    ifMatch: true,
    idempotency: "in_sql",
    handler: rotateSecret,
  }),
];
