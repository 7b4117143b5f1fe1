/** A succeeded job's model: what to do next, its scores, code to use it, and its files. */
import { useQuery } from "@tanstack/preact-query";
import type { ComponentChildren } from "preact";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { findIntegration } from "../../../../supabase/functions/_shared/contracts/integrations.ts";
import { formatBytes, pluralize } from "../../lib/format.ts";
import { useApiMutation, useModels, usePermission } from "../../lib/queries.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import type { Job } from "../../lib/types.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { CodeChoice } from "../../ui/code_choice.tsx";
import { CodeBlock, CopyButton } from "../../ui/display.tsx";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { TryIt } from "../playground/try_it.tsx";
import { fetchArchive, maxArchiveBytes, saveBlob } from "./archive.ts";
import { DownloadList } from "./download_list.tsx";
import { EvaluationTable } from "./evaluation.tsx";
import { Samples } from "./samples.tsx";
import { apiSnippets, localSnippets } from "./usage_snippets.ts";

type Adapter = Schemas["Adapter"];

/** Signed URLs expire after 15 minutes. */
const renewUrlsMs = 600_000;

const fetchAdapter = async (id: string): Promise<Adapter> =>
  unwrap(await getServices().api.GET("/fine_tuning/jobs/{id}/adapter", { params: { path: { id } } }));

export function Result({ job }: { job: Job }) {
  const adapter = useQuery({
    queryKey: ["adapter", job.id],
    queryFn: () => fetchAdapter(job.id),
    refetchInterval: renewUrlsMs,
  });
  return (
    <section aria-labelledby="result">
      <h2 id="result">Your model is ready</h2>
      <QueryBoundary query={adapter} what="the model">
        {(adapter) => (
          <>
            <p>
              <code>{adapter.fine_tuned_model}</code>{" "}
              <CopyButton text={adapter.fine_tuned_model} label="Copy name" />
            </p>
            <HubLink job={job} />
            <NextSteps job={job} adapter={adapter} />
            {job.evaluation !== null && <EvaluationTable evaluation={job.evaluation} />}
            {adapter.files.some(({ path }) => path === "samples.json") && <Samples files={adapter.files} />}
            <UseIt job={job} adapter={adapter} />
            <details>
              <summary>Files and hashes</summary>
              <p class="quiet">
                A LoRA adapter for {adapter.base_source}. Save all files in one folder.
              </p>
              <DownloadList files={adapter.files} />
            </details>
          </>
        )}
      </QueryBoundary>
    </section>
  );
}

/** The repository that the adapter was pushed to. If the push failed, the log says why. */
function HubLink({ job }: { job: Job }) {
  const hub = findIntegration(job, "huggingface")?.huggingface;
  if (!hub?.url) return null;
  return (
    <p>
      On the Hugging Face Hub: <a href={hub.url}>{hub.repo}</a>
    </p>
  );
}

function NextSteps({ job, adapter }: { job: Job; adapter: Adapter }) {
  const canAsk = usePermission("inference");
  const canTrain = usePermission("jobs:write");
  const whyNot = useServableReason(adapter.fine_tuned_model);
  const isChat = job.method.type === "supervised";
  const evaluated = job.validation_file ?? job.training_file;
  return (
    <ul class="next" aria-label="What to do next">
      {canAsk && (
        <Step title="Try it" text={whyNot ?? "Chat with the model, next to its base."}>
          {whyNot === null && <TryIt model={adapter.fine_tuned_model} primary />}
        </Step>
      )}
      {canAsk && whyNot === null && (
        <Step
          title="Evaluate it"
          text="Send every row of a held-out file to both models and compare the answers."
        >
          <a
            class="button"
            href={href(["evaluations", "new"], {
              model: adapter.fine_tuned_model,
              compare: job.base_model,
              // Preference rows have no single right answer.
              file: isChat ? evaluated : null,
            })}
          >
            Evaluate against the base model
          </a>
        </Step>
      )}
      <DownloadStep job={job} adapter={adapter} />
      {canTrain && (
        <Step
          title="Improve it"
          text="Train it further on more examples, or try other settings and compare the runs."
        >
          <a class="button" href={href(["new"], { model: adapter.fine_tuned_model })}>Continue training</a>
          {" "}
          <a class="button" href={href(["compare"], { jobs: job.id })}>Compare runs</a>
        </Step>
      )}
    </ul>
  );
}

const Step = ({ title, text, children }: { title: string; text: string; children: ComponentChildren }) => (
  <li>
    <h3>{title}</h3>
    <p class="quiet">{text}</p>
    <div class="actions">{children}</div>
  </li>
);

/** null: the model can be called, as far as is known. */
function useServableReason(model: string): string | null {
  const { data } = useModels();
  const found = data?.fineTuned.find(({ id }) => id === model);
  return found === undefined || found.servable
    ? null
    : `It cannot be called here: ${found.servable_reason ?? "this installation does not serve it."}`;
}

function DownloadStep({ job, adapter }: { job: Job; adapter: Adapter }) {
  const { total_bytes, files } = adapter;
  const folder = `adapter-${job.suffix ?? job.id}`;
  const download = useApiMutation(async () => {
    // Fresh URLs: the page may have been open for longer than they are valid.
    const { files } = await fetchAdapter(job.id);
    saveBlob(await fetchArchive(folder, files), `${folder}.tar`);
  });
  const size = `${pluralize(files.length, "file")}, ${formatBytes(total_bytes)}`;
  const fits = total_bytes <= maxArchiveBytes;
  return (
    <Step
      title="Download it"
      text={fits
        ? `The adapter as one archive: ${size}.`
        : `${size}: too large for one download in the browser.`}
    >
      {fits && <ActionButton mutation={download} label="Download all" />}
      <CodeBlock label="Or with the CLI" text={`tunebase adapter download ${job.id} --dir adapter`} />
    </Step>
  );
}

function UseIt({ job, adapter }: { job: Job; adapter: Adapter }) {
  const whyNot = useServableReason(adapter.fine_tuned_model);
  const api = whyNot === null ? apiSnippets(getServices().config.apiUrl, adapter.fine_tuned_model) : [];
  return (
    <>
      <h3>Use it</h3>
      <p class="quiet">
        {whyNot === null
          ? (
            <>
              Call it by its name with an{" "}
              <a href={href(["keys"])}>API key</a>, or run the downloaded adapter yourself.
            </>
          )
          : "Run the downloaded adapter yourself."}
      </p>
      <CodeChoice legend="Tool" snippets={[...api, ...localSnippets(adapter, job)]} />
    </>
  );
}
