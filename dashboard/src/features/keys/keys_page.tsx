/** The project's API keys. */
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import {
  defaultScopes,
  type Scope,
  scopeLabels,
  scopes,
} from "../../../../supabase/functions/_shared/contracts/scopes.ts";
import { useApiMutation, usePaginated, usePermission } from "../../lib/queries.ts";
import { getServices } from "../../lib/services.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { Status, Time } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { CheckboxGroup, Field, Form, SecretNotice } from "../../ui/forms.tsx";
import { Page } from "../../ui/page.tsx";
import { LoadMore, Table } from "../../ui/table.tsx";

const dayMs = 86_400_000;
const lifetimes = [7, 30, 90, 365];

export function KeysPage() {
  const canEdit = usePermission("project:admin");
  const [created, setCreated] = useState<Schemas["NewApiKey"] | null>(null);
  const keys = usePaginated(
    ["keys"],
    async (after) =>
      unwrap(
        await getServices().api.GET("/api_keys", {
          params: { query: { limit: 50, ...(after ? { after } : {}) } },
        }),
      ),
  );
  return (
    <Page title="API keys">
      {created && (
        <SecretNotice
          title={`API key “${created.name}” created.`}
          value={created.key}
          onDone={() => setCreated(null)}
        />
      )}
      {canEdit ? <CreateKey onCreated={setCreated} /> : (
        <p class="notice">
          Only project owners can create and revoke API keys.
        </p>
      )}
      <QueryBoundary query={keys} what="API keys">
        {(list) =>
          list.length === 0
            ? (
              <EmptyState title="No API keys yet">
                <p>Scripts, SDKs and the CLI authenticate with an API key.</p>
              </EmptyState>
            )
            : (
              <>
                <Table
                  label="API keys"
                  columns={[
                    "Name",
                    "Key",
                    "Scopes",
                    "Created",
                    "Last used",
                    "Expires",
                    "",
                  ]}
                >
                  {list.map((key) => <KeyRow key={key.id} apiKey={key} canEdit={canEdit} />)}
                </Table>
                <LoadMore query={keys} />
              </>
            )}
      </QueryBoundary>
    </Page>
  );
}

function CreateKey(
  { onCreated }: { onCreated: (key: Schemas["NewApiKey"]) => void },
) {
  const [name, setName] = useState("");
  const [selected, setSelected] = useState<Scope[]>(defaultScopes);
  const [days, setDays] = useState("");
  const create = useApiMutation(async () => {
    onCreated(unwrap(
      await getServices().api.POST("/api_keys", {
        body: {
          name,
          scopes: selected,
          ...(days === "" ? {} : {
            expires_at: Math.floor(
              (Date.now() + Number(days) * dayMs) / 1000,
            ),
          }),
        },
      }),
    ));
    setName("");
  }, [["keys"]]);
  return (
    <Form
      mutation={create}
      title="Create an API key"
      submit="Create key"
      primary
      ready={selected.length > 0}
    >
      <div class="fields">
        <Field label="Name" hint="What the key is for, such as “CI”.">
          {(control) => (
            <input
              {...control}
              type="text"
              required
              maxLength={100}
              value={name}
              onInput={(event) => setName(event.currentTarget.value)}
            />
          )}
        </Field>
        <Field label="Expires">
          {(control) => (
            <select
              {...control}
              value={days}
              onChange={(event) => setDays(event.currentTarget.value)}
            >
              <option value="">Never</option>
              {lifetimes.map((n) => <option key={n} value={n}>In {n} days</option>)}
            </select>
          )}
        </Field>
      </div>
      <details>
        <summary>Scopes ({selected.length} of {scopes.length})</summary>
        <fieldset>
          <legend class="unseen">Scopes</legend>
          <CheckboxGroup
            options={scopes}
            selected={selected}
            onChange={setSelected}
            labelOf={(scope) => scopeLabels[scope]}
          />
        </fieldset>
      </details>
    </Form>
  );
}

function KeyRow(
  { apiKey, canEdit }: { apiKey: Schemas["ApiKey"]; canEdit: boolean },
) {
  const revoke = useApiMutation(
    async () =>
      unwrap(
        await getServices().api.DELETE("/api_keys/{id}", {
          params: { path: { id: apiKey.id } },
        }),
      ),
    [["keys"]],
  );
  return (
    <tr>
      <th scope="row">{apiKey.name}</th>
      <td>
        <code>{apiKey.hint}</code>
      </td>
      <td class="small">{describeScopes(apiKey.scopes)}</td>
      <td>
        <Time at={apiKey.created_at} />
      </td>
      <td>
        {apiKey.last_used_at === null ? <span class="quiet">Never</span> : <Time at={apiKey.last_used_at} />}
      </td>
      <td>
        {apiKey.revoked_at !== null
          ? <Status value="revoked" />
          : apiKey.expires_at === null
          ? <span class="quiet">Never</span>
          : <Time at={apiKey.expires_at} />}
      </td>
      <td>
        {canEdit && apiKey.revoked_at === null && (
          <ActionButton
            mutation={revoke}
            label="Revoke"
            danger
            confirmation={{
              text: `Requests that use “${apiKey.name}” will fail immediately. You cannot undo this.`,
              confirm: "Revoke key",
            }}
          />
        )}
      </td>
    </tr>
  );
}

function describeScopes(granted: string[]): string {
  if (granted.length === scopes.length) return "All";
  if (
    granted.length === defaultScopes.length &&
    defaultScopes.every((scope) => granted.includes(scope))
  ) return "All except project";
  return granted.join(", ");
}
