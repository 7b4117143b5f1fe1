/**
 * POST /webhook_endpoints/discard: takes an event and keeps nothing. An endpoint that sends here exists for the log of its
 * deliveries: `tunebase webhooks listen` reads it on a machine that no server can reach. Needs no key, as receivers have
 * none.
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
