/**
 * POST /webhook_endpoints/discard: accepts an event and discards it. `tunebase webhooks listen` creates an endpoint with
 * this URL and reads its delivery log, for machines that webhooks cannot reach. Requires no API key, like any receiver.
 */
import type { ApiContext } from "../../context.ts";
import { defineRoute } from "../define.ts";

async function discardEvent(c: ApiContext): Promise<Response> {
  await c.req.raw.body?.cancel();
  return c.body(null, 204);
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/webhook_endpoints/discard",
    id: "discardEvent",
    summary: "Accept an event and discard it",
    description:
      "A target for endpoints used only for their delivery log, such as those of `tunebase webhooks listen`.",
    scope: "none",
    response: { 204: { description: "Accepted" } },
    handler: discardEvent,
  }),
];
