/** The project's API keys: made (shown once), revoked. */
import { useState } from "preact/hooks";
import {
  defaultScopes,
  type Scope,
  scopeLabels,
  scopes,
} from "../../../supabase/functions/_shared/contracts/scopes.ts";
import { type Schemas, unwrap } from "../../../client/mod.ts";
import { useChange, useMay, usePages } from "../data.ts";
import { use } from "../services.ts";
import { Action, Checks, Form, Secret } from "../ui/actions.tsx";
import { Empty, Field, Loaded, More, Page, Status, Table, Time } from "../ui/basics.tsx";

const dayMs = 86_400_000;

export function KeysPage() {
  const may = useMay("project:admin");
  const [made, setMade] = useState<Schemas["NewApiKey"] | null>(null);
  const keys = usePages(
    ["keys"],
    async (after) =>
      unwrap(
        await use().api.GET("/api_keys", { params: { query: { limit: 50, ...(after ? { after } : {}) } } }),
      ),
  );
  return (
    <Page title="API keys">
      {made && (
        <Secret
          what={`The key “${made.name}” is made.`}
          value={made.key}
          done={() => setMade(null)}
        />
      )}
      {may ? <NewKey made={setMade} /> : <p class="notice">Owners of the project make and revoke keys.</p>}
      <Loaded of={keys}>
        {(list) =>
          list.length === 0
            ? (
              <Empty>
                <p>There is no key yet. Scripts and SDKs call with one.</p>
              </Empty>
            )
            : (
              <>
                <Table label="API keys" head={["Name", "Key", "May", "Made", "Last used", "Ends", ""]}>
                  {list.map((key) => <Row key={key.id} of={key} may={may} />)}
                </Table>
                <More of={keys} />
              </>
            )}
      </Loaded>
    </Page>
  );
}

function NewKey({ made }: { made: (key: Schemas["NewApiKey"]) => void }) {
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState<Scope[]>(defaultScopes);
  const [days, setDays] = useState("");
  const create = useChange(async () => {
    made(unwrap(
      await use().api.POST("/api_keys", {
        body: {
          name,
          scopes: chosen,
          ...(days === "" ? {} : { expires_at: Math.floor((Date.now() + Number(days) * dayMs) / 1000) }),
        },
      }),
    ));
    setName("");
  }, [["keys"]]);
  return (
    <Form of={create} title="New key" label="Make the key" primary ready={chosen.length > 0}>
      <div class="fields">
        <Field label="Name" hint="What it is for.">
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
        <Field label="Ends">
          {(control) => (
            <select
              {...control}
              value={days}
              onChange={(event) => setDays(event.currentTarget.value)}
            >
              <option value="">never</option>
              {[7, 30, 90, 365].map((n) => <option key={n} value={n}>in {n} days</option>)}
            </select>
          )}
        </Field>
      </div>
      <details>
        <summary>What it may do ({chosen.length} of {scopes.length})</summary>
        <fieldset>
          <legend class="unseen">Scopes</legend>
          <Checks of={scopes} chosen={chosen} choose={setChosen} name={(scope) => scopeLabels[scope]} />
        </fieldset>
      </details>
    </Form>
  );
}

function Row({ of, may }: { of: Schemas["ApiKey"]; may: boolean }) {
  const revoke = useChange(
    async () => unwrap(await use().api.DELETE("/api_keys/{id}", { params: { path: { id: of.id } } })),
    [["keys"]],
  );
  return (
    <tr>
      <th scope="row">{of.name}</th>
      <td>
        <code>{of.hint}</code>
      </td>
      <td class="small">
        {of.scopes.length === scopes.length
          ? "everything"
          : of.scopes.length === defaultScopes.length
          ? "all but the project"
          : of.scopes.join(", ")}
      </td>
      <td>
        <Time at={of.created_at} />
      </td>
      <td>
        <Time at={of.last_used_at} />
      </td>
      <td>{of.revoked_at === null ? <Time at={of.expires_at} /> : <Status of="revoked" />}</td>
      <td>
        {may && of.revoked_at === null && (
          <Action
            of={revoke}
            label="Revoke"
            danger
            ask={`Revoke “${of.name}”? What calls with it is refused from now on.`}
          />
        )}
      </td>
    </tr>
  );
}
