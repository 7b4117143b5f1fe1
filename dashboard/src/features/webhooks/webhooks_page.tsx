/** The project's webhook endpoints. */
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { useApiMutation, usePaginated, usePermission } from "../../lib/queries.ts";
import { href, type PageProps } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { Status } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { CheckboxGroup, Field, Form, SecretNotice } from "../../ui/forms.tsx";
import { Page } from "../../ui/page.tsx";
import { LoadMore, Table } from "../../ui/table.tsx";
import { EndpointPage } from "./endpoint_page.tsx";
import { type EventType, shortEventType, useEventTypes } from "./event_types.ts";

type Endpoint = Schemas["WebhookEndpoint"];

export const WebhooksPage = ({ route }: PageProps) =>
  route.path[1] === undefined ? <EndpointList /> : <EndpointPage id={route.path[1]} />;

function EndpointList() {
  const canEdit = usePermission("webhooks:write");
  const [created, setCreated] = useState<Endpoint | null>(null);
  const endpoints = usePaginated(
    ["endpoints"],
    async (after) =>
      unwrap(
        await getServices().api.GET("/webhook_endpoints", {
          params: { query: { ...(after ? { after } : {}) } },
        }),
      ),
  );
  return (
    <Page title="Webhooks">
      {created?.signing_secret && (
        <SecretNotice
          title={`Signing secret of “${created.name}”.`}
          value={created.signing_secret}
          onDone={() => setCreated(null)}
        />
      )}
      <QueryBoundary query={endpoints} what="webhook endpoints">
        {(list) =>
          list.length === 0
            ? (
              <EmptyState title="No webhook endpoints yet">
                <p>
                  Tunebase sends signed events to your endpoints when a job changes, so that your systems
                  don't have to poll the API.
                </p>
              </EmptyState>
            )
            : (
              <>
                <Table
                  label="Webhook endpoints"
                  columns={["Name", "URL", "Events", "Status"]}
                >
                  {list.map(({ id, name, url, event_types, enabled }) => (
                    <tr key={id}>
                      <th scope="row">
                        <a href={href(["webhooks", id])}>{name}</a>
                      </th>
                      <td>
                        <code>{url}</code>
                      </td>
                      <td class="small">
                        {event_types.map(shortEventType).join(", ")}
                      </td>
                      <td>
                        <Status value={enabled ? "enabled" : "disabled"} />
                      </td>
                    </tr>
                  ))}
                </Table>
                <LoadMore query={endpoints} />
              </>
            )}
      </QueryBoundary>
      {canEdit && <CreateEndpoint onCreated={setCreated} />}
    </Page>
  );
}

function CreateEndpoint(
  { onCreated }: { onCreated: (endpoint: Endpoint) => void },
) {
  const eventTypes = useEventTypes();
  const [name, setName] = useState("");
  const [url, setUrl] = useState("");
  const [selected, setSelected] = useState<EventType[]>([
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
  ]);
  const create = useApiMutation(async () => {
    onCreated(
      unwrap(
        await getServices().api.POST("/webhook_endpoints", {
          body: { name, url, event_types: selected },
        }),
      ),
    );
    setName("");
    setUrl("");
  }, [["endpoints"]]);
  return (
    <Form
      mutation={create}
      title="Add an endpoint"
      submit="Add endpoint"
      primary
      ready={selected.length > 0}
    >
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
        <Field
          label="URL"
          hint="An https URL that accepts signed POST requests."
        >
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
        <CheckboxGroup
          options={eventTypes.data ?? []}
          selected={selected}
          onChange={setSelected}
          labelOf={shortEventType}
        />
      </fieldset>
    </Form>
  );
}
