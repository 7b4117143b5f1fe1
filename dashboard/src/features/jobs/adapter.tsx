/** A succeeded job's adapter: files, code to use it, and sample answers. */
import { useQuery } from "@tanstack/preact-query";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { formatBytes } from "../../lib/format.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import type { Job } from "../../lib/types.ts";
import { CodeBlock, CopyButton } from "../../ui/display.tsx";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { DownloadList } from "./download_list.tsx";
import { EvaluationTable } from "./evaluation.tsx";
import { Samples } from "./samples.tsx";

type Adapter = Schemas["Adapter"];

/** Signed URLs expire after 15 minutes. */
const renewUrlsMs = 600_000;

export function AdapterSection({ job }: { job: Job }) {
  const adapter = useQuery({
    queryKey: ["adapter", job.id],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/fine_tuning/jobs/{id}/adapter", {
          params: { path: { id: job.id } },
        }),
      ),
    refetchInterval: renewUrlsMs,
  });
  return (
    <section aria-labelledby="adapter">
      <h2 id="adapter">Adapter</h2>
      <QueryBoundary query={adapter} what="the adapter">
        {(adapter) => (
          <>
            <p>
              <code>{adapter.fine_tuned_model}</code>{" "}
              <CopyButton text={adapter.fine_tuned_model} label="Copy name" />{" "}
              <span class="quiet">
                A LoRA adapter for {adapter.base_source},{" "}
                {formatBytes(adapter.total_bytes)}. Save all files in one folder.
              </span>
            </p>
            <DownloadList files={adapter.files} />
            <h3>Use the adapter</h3>
            {usageSnippets(adapter).map(({ label, text }) => (
              <CodeBlock key={label} label={label} text={text} />
            ))}
            {job.evaluation !== null && <EvaluationTable evaluation={job.evaluation} />}
            {adapter.files.some(({ path }) => path === "samples.json") && <Samples files={adapter.files} />}
            <p>
              <a href={href(["new"], { model: adapter.fine_tuned_model })}>
                Continue training this model
              </a>
            </p>
          </>
        )}
      </QueryBoundary>
    </section>
  );
}

/** `base_source` is a Hugging Face ID that PEFT and vLLM accept, or a package of the worker. */
function usageSnippets(
  { job_id, base_source, base_revision }: Adapter,
): { label: string; text: string }[] {
  const isPackage = base_source.startsWith("package:");
  const base = isPackage ? "./base" : base_source;
  const note = isPackage
    ? `# Replace ./base with the path of ${base_source}, which is not on Hugging Face.\n`
    : "";
  const revision = isPackage ? null : base_revision;
  const url = `${getServices().config.apiUrl}/fine_tuning/jobs/${job_id}/adapter`;
  return [
    {
      label: "Download all files",
      text:
        `mkdir -p adapter && cd adapter\ncurl -s ${url} -H "authorization: Bearer $TUNEBASE_API_KEY" \\\n` +
        "  | jq -r '.files[].url' | xargs -n 1 curl -OJ",
    },
    {
      label: "PEFT",
      text: `${note}from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained(${JSON.stringify(base)}${
        revision === null ? "" : `, revision=${JSON.stringify(revision)}`
      })
model = PeftModel.from_pretrained(base, "./adapter")
tokenizer = AutoTokenizer.from_pretrained("./adapter")`,
    },
    {
      label: "vLLM",
      text: `${note}vllm serve ${base}${revision === null ? "" : ` --revision ${revision}`} \\
  --enable-lora --lora-modules tuned=./adapter
# Then request "model": "tuned".`,
    },
  ];
}
