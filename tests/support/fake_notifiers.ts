/**
 * Fakes of Resend's `POST /emails` and of Slack's incoming webhooks, as far as we use them: they check keys, return the same
 * id for a repeated idempotency key without sending again, and answer `ok` as Slack does. They send nothing.
 */
import * as z from "zod";
import { WebhookReceiver } from "./webhook_receiver.ts";

const Email = z.strictObject({
  from: z.string(),
  to: z.array(z.string()).length(1),
  subject: z.string(),
  text: z.string(),
});
export type Email = z.infer<typeof Email>;

export class FakeNotifiers {
  /** The emails and messages that would have been sent. */
  readonly emails: Email[] = [];
  readonly slack: string[] = [];
  readonly #ids = new Map<string, string>();
  readonly receiver = new WebhookReceiver();
  /** Secret, like the part of Slack's URL after `services/`. */
  readonly slackUrl = `${this.receiver.url}/services/T0/B0/${crypto.randomUUID()}`;

  constructor(readonly key: string) {
    this.receiver.answer = ({ path, headers, body }) => {
      if (path.startsWith("/services/")) {
        if (`${this.receiver.url}${path}` !== this.slackUrl) {
          return new Response("no_service", { status: 404 });
        }
        this.slack.push(z.strictObject({ text: z.string() }).parse(JSON.parse(body)).text);
        return new Response("ok");
      }
      if (path !== "/emails") return new Response("", { status: 404 });
      if (headers.authorization !== `Bearer ${this.key}`) {
        return Response.json({ statusCode: 401, name: "restricted_api_key", message: "API key is invalid" }, {
          status: 401,
        });
      }
      const email = Email.safeParse(JSON.parse(body));
      if (!email.success) {
        return Response.json({ statusCode: 422, name: "validation_error", message: email.error.message }, {
          status: 422,
        });
      }
      const key = headers["idempotency-key"] ?? crypto.randomUUID();
      const known = this.#ids.get(key);
      if (known === undefined) this.emails.push(email.data);
      const id = known ?? crypto.randomUUID();
      this.#ids.set(key, id);
      return Response.json({ id });
    };
  }
}
