/**
 * POST /webhook_sink: takes an event and keeps nothing. An endpoint that sends here exists for the log of its deliveries:
 * `tunebase webhooks listen` reads it on a machine that no server can reach. Needs no key, as receivers have none.
 */
import type { ApiContext } from "../../context.ts";

export async function swallowEvent(c: ApiContext): Promise<Response> {
  await c.req.raw.body?.cancel();
  return c.body(null, 204);
}
