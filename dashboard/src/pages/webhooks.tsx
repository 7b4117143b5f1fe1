/** Webhook endpoints; one of them with what was sent there. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../client/mod.ts";
import type { PageProps } from "../app.tsx";
import { useChange, useMay, usePages } from "../data.ts";
import { go, href } from "../router.ts";
import { use } from "../services.ts";
import { Action, Checks, Form, Secret } from "../ui/actions.tsx";
import { Empty, Facts, Field, Loaded, More, Page, Status, Table, Time } from "../ui/basics.tsx";
import { Deliveries } from "./deliveries.tsx";

type Endpoint = Schemas["WebhookEndpoint"];
type EventType = NonNullable<ReturnType<typeof useEventTypes>["data"]>[number];

const useEventTypes = () =>
  useQuery({
    queryKey: ["event types"],
    staleTime: Infinity,
    queryFn: async () => unwrap(await use().api.GET("/webhook_event_types")).data,
  });
const short = (type: string) => type.replace("fine_tuning.", "");

export const WebhooksPage = ({ route }: PageProps) =>
  route.path[1] === undefined ? <List /> : <One id={route.path[1]} />;

function List() {
  const may = useMay("webhooks:write");
  const [made, setMade] = useState<Endpoint | null>(null);
  const endpoints = usePages(
    ["endpoints"],
    async (after) =>
      unwrap(
        await use().api.GET("/webhook_endpoints", { params: { query: { ...(after ? { after } : {}) } } }),
      ),
  );
  return (
    <Page title="Webhooks">
      {made?.signing_secret && (
        <Secret
          what={`The signing secret of “${made.name}”.`}
          value={made.signing_secret}
          done={() => setMade(null)}
        />
      )}
      <Loaded of={endpoints}>
        {(list) =>
          list.length === 0
            ? (
              <Empty>
                <p>No system is told of this project's jobs yet.</p>
              </Empty>
            )
            : (
              <>
                <Table label="Webhook endpoints" head={["Name", "URL", "Events", "State"]}>
                  {list.map(({ id, name, url, event_types, enabled }) => (
                    <tr key={id}>
                      <th scope="row">
                        <a href={href(["webhooks", id])}>{name}</a>
                      </th>
                      <td>
                        <code>{url}</code>
                      </td>
                      <td class="small">{event_types.map(short).join(", ")}</td>
                      <td>
                        <Status of={enabled ? "enabled" : "disabled"} />
                      </td>
                    </tr>
                  ))}
                </Table>
                <More of={endpoints} />
              </>
            )}
      </Loaded>
      {may && <NewEndpoint made={setMade} />}
    </Page>
  );
}

function NewEndpoint({ made }: { made: (endpoint: Endpoint) => void }) {
  const types = useEventTypes();
  const [name, setName] = useState("");
  const [url, setUrl] = useState("");
  const [chosen, setChosen] = useState<EventType[]>([
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
  ]);
  const create = useChange(async () => {
    made(unwrap(await use().api.POST("/webhook_endpoints", { body: { name, url, event_types: chosen } })));
    setName("");
    setUrl("");
  }, [["endpoints"]]);
  return (
    <Form of={create} title="New endpoint" label="Make the endpoint" primary ready={chosen.length > 0}>
      <div class="fields">
        <Field label="Name">
          {(control) => (
            <input
              {...control}
              type="text"
              required
              value={name}
              onInput={(event) => setName(event.currentTarget.value)}
            />
          )}
        </Field>
        <Field label="URL" hint="https; it is called with signed events.">
          {(control) => (
            <input
              {...control}
              type="url"
              required
              value={url}
              onInput={(event) => setUrl(event.currentTarget.value)}
            />
          )}
        </Field>
      </div>
      <fieldset>
        <legend>Events</legend>
        <Checks of={types.data ?? []} chosen={chosen} choose={setChosen} name={short} />
      </fieldset>
    </Form>
  );
}

function One({ id }: { id: string }) {
  const endpoint = useQuery({
    queryKey: ["endpoint", id],
    queryFn: async () => unwrap(await use().api.GET("/webhook_endpoints/{id}", { params: { path: { id } } })),
  });
  return (
    <Page title={endpoint.data?.name ?? "Webhook endpoint"}>
      <Loaded of={endpoint}>
        {(endpoint) => (
          <>
            <Details of={endpoint} />
            <Deliveries endpointId={id} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Details({ of }: { of: Endpoint }) {
  const may = useMay("webhooks:write");
  const [secret, setSecret] = useState<string | null>(null);
  const [told, tell] = useState<string | null>(null);
  const params = { path: { id: of.id } };
  const stale = [["endpoint", of.id], ["endpoints"], ["deliveries"]];
  const test = useChange(async () => {
    tell(null);
    const { status_code } = unwrap(
      await use().api.POST("/webhook_endpoints/{id}/test", {
        params,
        body: { event_type: of.event_types[0] as EventType ?? "fine_tuning.job.succeeded" },
      }),
    );
    tell(`A sample event was answered with ${status_code}.`);
  }, stale);
  const toggle = useChange(
    async () =>
      unwrap(await use().api.POST("/webhook_endpoints/{id}", { params, body: { enabled: !of.enabled } })),
    stale,
  );
  const rotate = useChange(async () => {
    const { signing_secret } = unwrap(
      await use().api.POST("/webhook_endpoints/{id}/rotate_secret", {
        params,
        body: { keep_old_secret_active_for_24_hours: true },
      }),
    );
    setSecret(signing_secret ?? null);
  }, stale);
  const replay = useChange(async () => {
    tell(null);
    const since = Math.floor(Date.now() / 1000) - 5 * 86_400;
    const { replayed } = unwrap(
      await use().api.POST("/webhook_endpoints/{id}/replay", { params, body: { since } }),
    );
    tell(`${replayed} ${replayed === 1 ? "delivery is" : "deliveries are"} sent again.`);
  }, stale);
  const remove = useChange(async () => {
    unwrap(await use().api.DELETE("/webhook_endpoints/{id}", { params }));
    go(["webhooks"]);
  }, [["endpoints"]]);
  return (
    <section aria-label="Endpoint">
      {secret && <Secret what="The new signing secret." value={secret} done={() => setSecret(null)} />}
      {of.disabled_reason && <p class="problem">It is switched off: {of.disabled_reason}</p>}
      <Facts
        of={[
          ["State", <Status key="s" of={of.enabled ? "enabled" : "disabled"} />],
          ["URL", <code key="u">{of.url}</code>],
          ["Events", of.event_types.map(short).join(", ")],
          ["Signing secret", <code key="h">{of.signing_secret_hint}</code>],
          ["Made", <Time key="t" at={of.created_at} />],
        ]}
      />
      {told && <p class="notice" role="status">{told}</p>}
      {may && (
        <p class="actions" style={{ marginTop: "1rem" }}>
          <Action of={test} label="Send a test" />
          <Action of={replay} label="Replay what failed in 5 days" />
          <Action of={toggle} label={of.enabled ? "Switch off" : "Switch on"} />
          <Action
            of={rotate}
            label="New secret"
            ask="Make a new signing secret? For a day each event carries the signatures of both."
          />
          <Action of={remove} label="Delete" danger ask={`Delete “${of.name}” and its log?`} />
        </p>
      )}
    </section>
  );
}
