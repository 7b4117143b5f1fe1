/** An endpoint's deliveries: requests, responses and retries. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { deliveryStatuses } from "../../../../supabase/functions/_shared/contracts/statuses.ts";
import { useApiMutation, usePaginated, usePermission } from "../../lib/queries.ts";
import { getServices } from "../../lib/services.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { CodeBlock, Status, Time } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { LoadMore, Table } from "../../ui/table.tsx";

type DeliveryStatus = typeof deliveryStatuses[number];
const filterLabels: Record<DeliveryStatus, string> = {
  pending: "Pending",
  delivered: "Delivered",
  dead: "Failed",
};
const pollIntervalMs = 10_000;

export function Deliveries({ endpointId }: { endpointId: string }) {
  const [status, setStatus] = useState<DeliveryStatus | undefined>(undefined);
  const [expanded, setExpanded] = useState<string | null>(null);
  const deliveries = usePaginated(
    ["deliveries", endpointId, status],
    async (after) =>
      unwrap(
        await getServices().api.GET("/webhook_deliveries", {
          params: {
            query: {
              webhook_endpoint_id: endpointId,
              limit: 25,
              ...(after ? { after } : {}),
              ...(status ? { status } : {}),
            },
          },
        }),
      ),
    { refetchInterval: pollIntervalMs },
  );
  return (
    <>
      <h2>Deliveries</h2>
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        <label>
          Status{" "}
          <select
            value={status ?? ""}
            onChange={(event) =>
              setStatus(
                deliveryStatuses.find((each) => each === event.currentTarget.value),
              )}
          >
            <option value="">All</option>
            {deliveryStatuses.map((each) => <option key={each} value={each}>{filterLabels[each]}</option>)}
          </select>
        </label>
      </form>
      <QueryBoundary query={deliveries} what="deliveries">
        {(items) =>
          items.length === 0
            ? status === undefined
              ? (
                <EmptyState title="No deliveries yet">
                  <p>
                    Events sent to this endpoint appear here with their responses.
                  </p>
                </EmptyState>
              )
              : <EmptyState title="No deliveries with this status" />
            : (
              <>
                <Table
                  label="Deliveries"
                  columns={[
                    "Event",
                    "Status",
                    "Attempts",
                    "Response",
                    "Last attempt",
                    "",
                  ]}
                >
                  {items.map((delivery) => (
                    <DeliveryRow
                      key={delivery.id}
                      delivery={delivery}
                      isExpanded={expanded === delivery.id}
                      toggle={() =>
                        setExpanded(
                          expanded === delivery.id ? null : delivery.id,
                        )}
                    />
                  ))}
                </Table>
                <LoadMore query={deliveries} />
              </>
            )}
      </QueryBoundary>
    </>
  );
}

function DeliveryRow({ delivery, isExpanded, toggle }: {
  delivery: Schemas["WebhookDelivery"];
  isExpanded: boolean;
  toggle: () => void;
}) {
  const canEdit = usePermission("webhooks:write");
  const {
    id,
    event_type,
    status,
    reason,
    response_status,
    error,
    next_try_at,
  } = delivery;
  const replay = useApiMutation(
    async () =>
      unwrap(
        await getServices().api.POST("/webhook_deliveries/{id}/replay", {
          params: { path: { id } },
        }),
      ),
    [["deliveries"], ["delivery", id]],
  );
  return (
    <>
      <tr>
        <th scope="row">{event_type}</th>
        <td>
          <Status value={status} />
          {reason && <div class="small">{reason}</div>}
        </td>
        <td class="number">{delivery.tries}</td>
        <td>{response_status ?? error ?? "–"}</td>
        <td>
          <Time at={delivery.last_tried_at} />
          {status === "pending" && next_try_at !== null && (
            <div class="quiet small">
              next: <Time at={next_try_at} />
            </div>
          )}
        </td>
        <td>
          <div class="actions">
            <button
              type="button"
              class="small"
              aria-expanded={isExpanded}
              onClick={toggle}
            >
              {isExpanded ? "Hide" : "Details"} <span class="unseen">{event_type}</span>
            </button>
            {canEdit && (
              <ActionButton
                mutation={{
                  ...replay,
                  mutate: () => replay.mutate(),
                }}
                label="Resend"
              />
            )}
          </div>
        </td>
      </tr>
      {isExpanded && (
        <tr>
          <td colSpan={6}>
            <DeliveryDetails id={id} />
          </td>
        </tr>
      )}
    </>
  );
}

function DeliveryDetails({ id }: { id: string }) {
  const delivery = useQuery({
    queryKey: ["delivery", id],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/webhook_deliveries/{id}", {
          params: { path: { id } },
        }),
      ),
  });
  return (
    <QueryBoundary query={delivery} what="the delivery">
      {({ body, attempts }) => (
        <>
          <CodeBlock label="Request body" text={formatJson(body)} />
          {attempts.map(({ created_at, duration_ms, response, error }) => (
            <div key={created_at}>
              <p>
                <Time at={created_at} />: {response?.status ?? error} in {duration_ms} ms
              </p>
              {response?.body && <CodeBlock label="Response body" text={response.body} />}
            </div>
          ))}
        </>
      )}
    </QueryBoundary>
  );
}

/** Indented JSON; anything else unchanged. */
function formatJson(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
