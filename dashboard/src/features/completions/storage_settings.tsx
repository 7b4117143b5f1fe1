/** Whether the project stores completions, and for how long. Only owners change it. */
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { pluralize } from "../../lib/format.ts";
import { useApiMutation, usePermission } from "../../lib/queries.ts";
import { getServices } from "../../lib/services.ts";
import { Status } from "../../ui/display.tsx";
import { Field, Form } from "../../ui/forms.tsx";

const maxDays = 3650;

export function StorageSettings({ project }: { project: Schemas["Project"] }) {
  const isOwner = usePermission("project:admin");
  const { store_completions: isStoring, completion_retention_days: days } = project;
  const [isOn, setIsOn] = useState(isStoring);
  const [retention, setRetention] = useState(String(days));
  const save = useApiMutation(
    async () =>
      unwrap(
        await getServices().api.POST("/projects/{id}", {
          params: { path: { id: project.id } },
          body: {
            store_completions: isOn,
            completion_retention_days: Number(retention),
          },
        }),
      ),
    [["me"], ["project", project.id], ["completions"]],
  );
  const isChanged = isOn !== isStoring || retention !== String(days);
  return (
    <section aria-labelledby="storing">
      <h2 id="storing">Storing</h2>
      <p role="status">
        <Status
          value={isStoring ? "enabled" : "plain"}
          label={isStoring ? `On: completions are deleted after ${pluralize(days, "day")}.` : "Off."}
        />{" "}
        {!isStoring && (
          <>
            Requests with <code>store: true</code> are rejected.
          </>
        )}
      </p>
      {isOwner
        ? (
          <Form mutation={save} submit="Save" ready={isChanged}>
            <p>
              <label class="plain">
                <input
                  type="checkbox"
                  checked={isOn}
                  onChange={(event) => setIsOn(event.currentTarget.checked)}
                />{" "}
                Store completions of requests with <code>store: true</code>
              </label>
            </p>
            <div class="fields">
              <Field
                label="Keep for (days)"
                hint="Applies to new completions."
              >
                {(control) => (
                  <input
                    {...control}
                    type="number"
                    min={1}
                    max={maxDays}
                    required
                    value={retention}
                    onInput={(event) => setRetention(event.currentTarget.value)}
                  />
                )}
              </Field>
            </div>
          </Form>
        )
        : <p class="quiet">Only owners of the project can change this.</p>}
    </section>
  );
}
