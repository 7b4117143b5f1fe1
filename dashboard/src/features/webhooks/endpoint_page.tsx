/** One webhook endpoint: its settings, its actions and its deliveries. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { pluralize } from "../../lib/format.ts";
import { useApiMutation, usePermission } from "../../lib/queries.ts";
import { navigate } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { FieldList, Status, Time } from "../../ui/display.tsx";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { SecretNotice } from "../../ui/forms.tsx";
import { Page } from "../../ui/page.tsx";
import { Deliveries } from "./deliveries.tsx";
import { type EventType, shortEventType } from "./event_types.ts";

const replaySeconds = 5 * 86_400;

export function EndpointPage({ id }: { id: string }) {
  const endpoint = useQuery({
    queryKey: ["endpoint", id],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/webhook_endpoints/{id}", {
          params: { path: { id } },
        }),
      ),
  });
  return (
    <Page title={endpoint.data?.name ?? "Webhook endpoint"}>
      <QueryBoundary query={endpoint} what="the endpoint">
        {(endpoint) => (
          <>
            <EndpointDetails endpoint={endpoint} />
            <Deliveries endpointId={id} />
          </>
        )}
      </QueryBoundary>
    </Page>
  );
}

function EndpointDetails(
  { endpoint }: { endpoint: Schemas["WebhookEndpoint"] },
) {
  const canEdit = usePermission("webhooks:write");
  const [secret, setSecret] = useState<string | null>(null);
  const [message, setMessage] = useState<string | null>(null);
  const { api } = getServices();
  const params = { path: { id: endpoint.id } };
  const invalidates = [["endpoint", endpoint.id], ["endpoints"], [
    "deliveries",
  ]];
  const test = useApiMutation(async () => {
    setMessage(null);
    const { status_code } = unwrap(
      await api.POST("/webhook_endpoints/{id}/test", {
        params,
        body: {
          event_type: endpoint.event_types[0] as EventType ??
            "fine_tuning.job.succeeded",
        },
      }),
    );
    setMessage(`Test event sent. The endpoint responded with ${status_code}.`);
  }, invalidates);
  const toggle = useApiMutation(
    async () =>
      unwrap(
        await api.POST("/webhook_endpoints/{id}", {
          params,
          body: { enabled: !endpoint.enabled },
        }),
      ),
    invalidates,
  );
  const rotate = useApiMutation(async () => {
    const { signing_secret } = unwrap(
      await api.POST("/webhook_endpoints/{id}/rotate_secret", {
        params,
        body: { keep_old_secret_active_for_24_hours: true },
      }),
    );
    setSecret(signing_secret ?? null);
  }, invalidates);
  const replay = useApiMutation(async () => {
    setMessage(null);
    const since = Math.floor(Date.now() / 1000) - replaySeconds;
    const { replayed } = unwrap(
      await api.POST("/webhook_endpoints/{id}/replay", {
        params,
        body: { since },
      }),
    );
    setMessage(
      replayed === 0
        ? "No failed deliveries in the last 5 days."
        : `Resending ${pluralize(replayed, "delivery", "deliveries")}.`,
    );
  }, invalidates);
  const remove = useApiMutation(async () => {
    unwrap(await api.DELETE("/webhook_endpoints/{id}", { params }));
    navigate(["webhooks"]);
  }, [["endpoints"]]);
  return (
    <section aria-label="Endpoint">
      {secret && (
        <SecretNotice
          title="New signing secret."
          value={secret}
          onDone={() => setSecret(null)}
        />
      )}
      {endpoint.disabled_reason && (
        <p class="problem">
          This endpoint is disabled: {endpoint.disabled_reason}
        </p>
      )}
      <FieldList
        fields={[
          [
            "Status",
            <Status
              key="status"
              value={endpoint.enabled ? "enabled" : "disabled"}
            />,
          ],
          ["URL", <code key="url">{endpoint.url}</code>],
          ["Events", endpoint.event_types.map(shortEventType).join(", ")],
          [
            "Signing secret",
            <code key="secret">{endpoint.signing_secret_hint}</code>,
          ],
          ["Created", <Time key="created" at={endpoint.created_at} />],
        ]}
      />
      {message && <p class="notice" role="status">{message}</p>}
      {canEdit && (
        <p class="actions" style={{ marginTop: "1rem" }}>
          <ActionButton mutation={test} label="Send test event" />
          <ActionButton mutation={replay} label="Resend failed (5 days)" />
          <ActionButton
            mutation={toggle}
            label={endpoint.enabled ? "Disable" : "Enable"}
          />
          <ActionButton
            mutation={rotate}
            label="Rotate secret"
            confirmation={{
              text:
                "The endpoint gets a new signing secret. For 24 hours, events are signed with both the old and the new secret.",
              confirm: "Rotate secret",
            }}
          />
          <ActionButton
            mutation={remove}
            label="Delete"
            danger
            confirmation={{
              text: `This permanently deletes “${endpoint.name}” and its delivery log.`,
              confirm: "Delete endpoint",
            }}
          />
        </p>
      )}
    </section>
  );
}
