/** POST /webhook_endpoints/{id}/test `{event_type}`: sends a sample event and returns the response's status. */
import * as z from "zod";
import { ApiError } from "../../../_shared/errors.ts";
import { post } from "../../../_shared/safe_fetch.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import { eventTypes } from "../../../_shared/contracts/event_types.ts";
import { sampleEvent, signingSecrets, webhookHeaders } from "../../../_shared/webhooks.ts";
import type { ApiContext } from "../../context.ts";
import { publicId, uuid7 } from "../../ids.ts";
import { endpointRow } from "./endpoints.ts";
import { defineRoute } from "../define.ts";

export const Body = strictObject({
  event_type: z.enum(eventTypes, { error: `must be one of ${eventTypes.join(", ")}` }),
});

async function testEndpoint(c: ApiContext): Promise<Response> {
  const { settings } = c.get("platform");
  const { event_type } = parseOrThrow(Body, await jsonBody(c.req));
  const row = await endpointRow(c, "webhooks:write");
  const id = publicId("webhookEvent", uuid7());
  const body = sampleEvent(event_type, id);
  const old = row.old_secret_until !== null && Date.parse(row.old_secret_until) > Date.now();
  const secrets = await signingSecrets(settings.masterKey, row.id, row.secret_version, old);
  const { open, signature } = webhookHeaders(secrets, id, body);
  const result = await post(
    row.url,
    { headers: { ...open, "webhook-signature": signature }, body },
    settings,
  );
  if (result.status === null) {
    throw new ApiError("receiver_unreachable", [{
      param: "url",
      message: `${row.url} could not be reached: ${result.error}.`,
    }]);
  }
  return c.json({
    object: "webhook_endpoint.test" as const,
    webhook_endpoint_id: publicId("webhookEndpoint", row.id),
    event_type,
    status_code: result.status,
    // As in OpenAI's API: the endpoint responded, with any status.
    success: true as const,
  });
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/webhook_endpoints/{id}/test",
    id: "testWebhookEndpoint",
    summary: "Send a sample event",
    scope: "webhooks:write",
    body: Body,
    example: { event_type: "fine_tuning.job.succeeded" },
    response: "EndpointTest",
    errors: ["webhook_endpoint_not_found", "receiver_unreachable"],
    handler: testEndpoint,
  }),
];
