/** The settings that a job was created with. */
import type { ComponentChildren } from "preact";
import { href } from "../../lib/router.ts";
import type { Job } from "../../lib/types.ts";
import { FieldList, Time } from "../../ui/display.tsx";
import { hyperparametersOf, methodOf } from "./job_facts.ts";

export function JobSettings({ job }: { job: Job }) {
  const fields: [string, ComponentChildren][] = [["Model", job.model]];
  if (job.method.type === "dpo") {
    fields.push(["Method", methodOf(job)]);
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
  fields.push(...hyperparametersOf(job));
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
