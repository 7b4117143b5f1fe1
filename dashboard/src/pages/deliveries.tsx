/** What was sent to an endpoint, and what came back. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../client/mod.ts";
import { useChange, useMay, usePages } from "../data.ts";
import { use } from "../services.ts";
import { Action } from "../ui/actions.tsx";
import { Code, Empty, Loaded, More, Status, Table, Time } from "../ui/basics.tsx";

const states = ["pending", "delivered", "dead"] as const;

export function Deliveries({ endpointId }: { endpointId: string }) {
  const [status, setStatus] = useState<typeof states[number] | undefined>(undefined);
  const [open, setOpen] = useState<string | null>(null);
  const list = usePages(["deliveries", endpointId, status], async (after) =>
    unwrap(
      await use().api.GET("/webhook_deliveries", {
        params: {
          query: {
            webhook_endpoint_id: endpointId,
            limit: 25,
            ...(after ? { after } : {}),
            ...(status ? { status } : {}),
          },
        },
      }),
    ), { refetchInterval: 10_000 });
  return (
    <>
      <h2>Deliveries</h2>
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        <label>
          State{" "}
          <select
            value={status ?? ""}
            onChange={(event) => setStatus(states.find((each) => each === event.currentTarget.value))}
          >
            <option value="">any</option>
            <option value="pending">pending</option>
            <option value="delivered">delivered</option>
            <option value="dead">gave up</option>
          </select>
        </label>
      </form>
      <Loaded of={list}>
        {(items) =>
          items.length === 0
            ? (
              <Empty>
                <p>Nothing was sent {status === undefined ? "yet" : "that is like that"}.</p>
              </Empty>
            )
            : (
              <>
                <Table label="Deliveries" head={["Event", "State", "Tries", "Answer", "Last try", ""]}>
                  {items.map((item) => (
                    <Row
                      key={item.id}
                      of={item}
                      open={open === item.id}
                      toggle={() => setOpen(open === item.id ? null : item.id)}
                    />
                  ))}
                </Table>
                <More of={list} />
              </>
            )}
      </Loaded>
    </>
  );
}

function Row({ of, open, toggle }: { of: Schemas["WebhookDelivery"]; open: boolean; toggle: () => void }) {
  const may = useMay("webhooks:write");
  const replay = useChange(
    async () =>
      unwrap(await use().api.POST("/webhook_deliveries/{id}/replay", { params: { path: { id: of.id } } })),
    [["deliveries"], ["delivery", of.id]],
  );
  return (
    <>
      <tr>
        <th scope="row">{of.event_type}</th>
        <td>
          <Status of={of.status} />
          {of.reason && <div class="small">{of.reason}</div>}
        </td>
        <td class="number">{of.tries}</td>
        <td>{of.response_status ?? of.error ?? "–"}</td>
        <td>
          <Time at={of.last_tried_at} />
          {of.status === "pending" && of.next_try_at !== null && (
            <div class="quiet small">
              next: <Time at={of.next_try_at} />
            </div>
          )}
        </td>
        <td>
          <div class="actions">
            <button type="button" class="small" aria-expanded={open} onClick={toggle}>
              {open ? "Hide" : "Show"}
              <span class="unseen">{of.event_type}</span>
            </button>
            {may && <Action of={{ ...replay, mutate: () => replay.mutate() }} label="Send again" />}
          </div>
        </td>
      </tr>
      {open && (
        <tr>
          <td colSpan={6}>
            <Tries id={of.id} />
          </td>
        </tr>
      )}
    </>
  );
}

function Tries({ id }: { id: string }) {
  const delivery = useQuery({
    queryKey: ["delivery", id],
    queryFn: async () =>
      unwrap(await use().api.GET("/webhook_deliveries/{id}", { params: { path: { id } } })),
  });
  return (
    <Loaded of={delivery}>
      {({ body, attempts }) => (
        <>
          <Code label="Body" text={pretty(body)} />
          {attempts.map(({ created_at, duration_ms, response, error }) => (
            <div key={created_at}>
              <p>
                <Time at={created_at} />: {response?.status ?? error} in {duration_ms} ms
              </p>
              {response?.body && <Code label="Answer" text={response.body} />}
            </div>
          ))}
        </>
      )}
    </Loaded>
  );
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // it is shown as it was sent
  }
}
