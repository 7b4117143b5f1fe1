/** The settings that a job was created with. */
import type { ComponentChildren } from "preact";
import {
  apiFields,
  apiName,
  field,
} from "../../../../supabase/functions/_shared/contracts/hyperparameters.ts";
import { formatNumber, humanize } from "../../lib/format.ts";
import { href } from "../../lib/router.ts";
import type { Job } from "../../lib/types.ts";
import { FieldList, Time } from "../../ui/display.tsx";

const hyperparameterLabels = new Map(
  apiFields.map((name) => [apiName(name), field(name).label]),
);

export function JobSettings({ job }: { job: Job }) {
  const fields: [string, ComponentChildren][] = [["Model", job.model]];
  if (job.method.type === "dpo") {
    fields.push(["Method", "Preference optimization (DPO)"]);
  }
  fields.push([
    "Training file",
    <FileLink key="training" id={job.training_file} />,
  ]);
  if (job.validation_file !== null) {
    fields.push([
      "Validation file",
      <FileLink key="validation" id={job.validation_file} />,
    ]);
  }
  for (const [name, value] of Object.entries(job.hyperparameters)) {
    fields.push([
      hyperparameterLabels.get(name) ?? humanize(name),
      typeof value === "number" ? formatNumber(value) : String(value),
    ]);
  }
  fields.push(["Seed", String(job.seed)], [
    "Created",
    <Time key="created" at={job.created_at} />,
  ]);
  fields.push(...Object.entries(job.metadata ?? {}));
  return (
    <section aria-labelledby="settings">
      <h2 id="settings">Settings</h2>
      <FieldList fields={fields} />
    </section>
  );
}

const FileLink = ({ id }: { id: string }) => <a href={href(["files", id])}>{id.slice(0, 14)}…</a>;
