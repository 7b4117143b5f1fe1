/** All routes, in the order of the documentation. */
import type { Route } from "./define.ts";

interface Resource {
  /** Its tag in the OpenAPI document. */
  tag: string;
  /** The first segments of its paths. The first request to one of them loads the resource's routes. */
  segments: string[];
  load: () => Promise<Route[]>;
  /** OpenAI routes that are not supported, for any method. */
  loadUnsupported?: () => Promise<{ path: string; handler: () => Response }[]>;
}

const all = async (...modules: Promise<{ routes: Route[] }>[]) =>
  (await Promise.all(modules)).flatMap(({ routes }) => routes);

export const resources: Resource[] = [
  {
    tag: "Files",
    segments: ["files"],
    load: () =>
      all(
        import("./files/create.ts"),
        import("./files/from_completions.ts"),
        import("./files/list.ts"),
        import("./files/get.ts"),
        import("./files/overlap.ts"),
        import("./files/content.ts"),
        import("./files/delete.ts"),
        import("./files/resumable.ts"),
      ),
  },
  {
    tag: "Files",
    segments: ["uploads"],
    load: () => all(import("./uploads/upload.ts"), import("./uploads/part.ts")),
  },
  {
    tag: "Fine-tuning",
    segments: ["fine_tuning"],
    load: () =>
      all(
        import("./estimates/create.ts"),
        import("./jobs/create.ts"),
        import("./jobs/list.ts"),
        import("./jobs/get.ts"),
        import("./jobs/transitions.ts"),
        import("./jobs/events.ts"),
        import("./jobs/metrics.ts"),
        import("./jobs/checkpoints.ts"),
        import("./jobs/adapter.ts"),
      ),
    loadUnsupported: async () => (await import("./meta/unsupported.ts")).unsupported,
  },
  {
    tag: "Inference",
    segments: ["chat", "completions"],
    load: () => all(import("./inference/completions.ts"), import("./inference/stored.ts")),
  },
  {
    tag: "Evaluations",
    segments: ["evaluations"],
    load: () => all(import("./evaluations/create.ts"), import("./evaluations/evaluations.ts")),
  },
  {
    tag: "Models",
    segments: ["models"],
    load: () => all(import("./models/warm.ts"), import("./models/models.ts")),
  },
  { tag: "Projects and keys", segments: ["me"], load: () => all(import("./me/me.ts")) },
  { tag: "Projects and keys", segments: ["usage"], load: () => all(import("./usage/usage.ts")) },
  {
    tag: "Projects and keys",
    segments: ["projects", "invitations"],
    load: () =>
      all(
        import("./projects/projects.ts"),
        import("./members/members.ts"),
        import("./invitations/invitations.ts"),
      ),
  },
  { tag: "Projects and keys", segments: ["api_keys"], load: () => all(import("./api_keys/api_keys.ts")) },
  {
    tag: "Webhooks",
    segments: ["webhook_event_types", "webhook_endpoints", "webhook_deliveries"],
    load: () =>
      all(
        import("./webhooks/endpoints.ts"),
        import("./webhooks/secret.ts"),
        import("./webhooks/test.ts"),
        import("./webhooks/deliveries.ts"),
        import("./webhooks/discard.ts"),
      ),
  },
  {
    tag: "Notifications",
    segments: ["notifications", "notification_channels"],
    load: () => all(import("./notifications/notifications.ts"), import("./notifications/channels.ts")),
  },
  { tag: "Service", segments: ["health"], load: () => all(import("./meta/health.ts")) },
  { tag: "Service", segments: ["status"], load: () => all(import("./status/status.ts")) },
  { tag: "Service", segments: ["metrics"], load: () => all(import("./operator/metrics.ts")) },
  { tag: "Service", segments: ["openapi.json"], load: () => all(import("./meta/openapi.ts")) },
  { tag: "Service", segments: ["docs"], load: () => all(import("./meta/docs.ts")) },
];

/** All routes with their tags, for the OpenAPI document, the documentation and the tests. */
export async function allRoutes(): Promise<(Route & { tag: string })[]> {
  const loaded = await Promise.all(
    resources.map(async ({ tag, load }) => (await load()).map((route) => ({ ...route, tag }))),
  );
  return loaded.flat();
}
