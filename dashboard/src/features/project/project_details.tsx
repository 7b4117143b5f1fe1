/** The current project: status, usage against its limits, settings, members. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { formatBytes, formatCount, formatUsd } from "../../lib/format.ts";
import { useApiMutation, usePermission } from "../../lib/queries.ts";
import { getServices } from "../../lib/services.ts";
import { FieldList, Status } from "../../ui/display.tsx";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { Field, Form } from "../../ui/forms.tsx";
import { Members } from "./members.tsx";

export function ProjectDetails(
  { id, userId }: { id: string; userId: string | null },
) {
  const isOwner = usePermission("project:admin");
  const project = useQuery({
    queryKey: ["project", id],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/projects/{id}", {
          params: { path: { id } },
        }),
      ),
  });
  return (
    <>
      <QueryBoundary query={project} what="the project">
        {(project) => (
          <section aria-label="Limits">
            <FieldList
              fields={[
                ["Status", <Status key="status" value={project.status} />],
                ["Your role", project.role ?? "–"],
                [
                  "Running jobs",
                  `${project.use?.running ?? 0} of ${project.limits.running}`,
                ],
                [
                  "Unfinished jobs",
                  formatUsage(
                    project.use?.jobs ?? 0,
                    project.limits.jobs,
                    formatCount,
                  ),
                ],
                [
                  "Storage",
                  formatUsage(
                    project.use?.storage_bytes ?? 0,
                    project.limits.storage_bytes,
                    formatBytes,
                  ),
                ],
                [
                  "Spent this month",
                  formatUsage(
                    project.use?.spent_usd ?? 0,
                    project.limits.spent_usd,
                    formatUsd,
                  ),
                ],
              ]}
            />
            {isOwner && <ProjectSettings key={project.id} project={project} />}
          </section>
        )}
      </QueryBoundary>
      <Members projectId={id} isOwner={isOwner} userId={userId} />
    </>
  );
}

/** `3 of 1,000`, or `3, no limit`. */
const formatUsage = (
  used: number,
  limit: number | null,
  format: (value: number) => string,
) => limit === null ? `${format(used)}, no limit` : `${format(used)} of ${format(limit)}`;

function ProjectSettings({ project }: { project: Schemas["Project"] }) {
  const { limits } = project;
  const [name, setName] = useState(project.name);
  const [running, setRunning] = useState(String(limits.running));
  const [spendCap, setSpendCap] = useState(
    limits.spent_usd === null ? "" : String(limits.spent_usd),
  );
  const save = useApiMutation(
    async () =>
      unwrap(
        await getServices().api.POST("/projects/{id}", {
          params: { path: { id: project.id } },
          body: {
            name,
            limits: {
              running: Number(running),
              spent_usd: spendCap === "" ? null : Number(spendCap),
            },
          },
        }),
      ),
    [["project", project.id], ["projects"], ["me"]],
  );
  return (
    <details>
      <summary>Edit name and limits</summary>
      <Form mutation={save} submit="Save changes">
        <div class="fields">
          <Field label="Project name">
            {(control) => (
              <input
                {...control}
                required
                maxLength={100}
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
              />
            )}
          </Field>
          <Field
            label="Concurrent jobs"
            hint="Jobs above this limit wait in the queue."
          >
            {(control) => (
              <input
                {...control}
                type="number"
                min={0}
                max={1000}
                required
                value={running}
                onInput={(event) => setRunning(event.currentTarget.value)}
              />
            )}
          </Field>
          <Field
            label="Monthly spend cap (USD)"
            hint="Running jobs stop when the project reaches it. Leave empty for no cap."
          >
            {(control) => (
              <input
                {...control}
                type="number"
                min={0.0001}
                step="any"
                value={spendCap}
                onInput={(event) => setSpendCap(event.currentTarget.value)}
              />
            )}
          </Field>
        </div>
      </Form>
    </details>
  );
}
