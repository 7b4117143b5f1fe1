/** What came of a job: its files, how to run them, and what base and tuned make of the same rows. */
import { useQuery } from "@tanstack/preact-query";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import type { Job } from "../../data.ts";
import { bytes } from "../../format.ts";
import { href } from "../../router.ts";
import { use } from "../../services.ts";
import { Code, Copy, Loaded } from "../../ui/basics.tsx";
import { Files } from "./files.tsx";
import { Samples } from "./samples.tsx";

type Adapter = Schemas["Adapter"];

export function Adapter({ job }: { job: Job }) {
  const adapter = useQuery({
    queryKey: ["adapter", job.id],
    queryFn: async () =>
      unwrap(await use().api.GET("/fine_tuning/jobs/{id}/adapter", { params: { path: { id: job.id } } })),
    // Its links live a quarter of an hour.
    refetchInterval: 600_000,
  });
  return (
    <section aria-labelledby="adapter">
      <h2 id="adapter">The adapter</h2>
      <Loaded of={adapter}>
        {(found) => (
          <>
            <p>
              <code>{found.fine_tuned_model}</code> <Copy text={found.fine_tuned_model} label="Copy name" />
              {" "}
              <span class="quiet">
                {bytes(found.total_bytes)}, a LoRA adapter for{" "}
                {found.base_source}. Save the files into one folder.
              </span>
            </p>
            <Files files={found.files} />
            <h3>Use it</h3>
            {snippets(found).map(({ label, text }) => <Code key={label} label={label} text={text} />)}
            {found.files.some(({ path }) => path === "samples.json") && <Samples files={found.files} />}
            <p>
              <a href={href(["new"], { model: found.fine_tuned_model })}>Train on from it</a>
            </p>
          </>
        )}
      </Loaded>
    </section>
  );
}

/** `base_source` is the base's id on the hub, which PEFT and vLLM take as it is; or a package of the worker's. */
function snippets({ job_id, base_source, base_revision }: Adapter): { label: string; text: string }[] {
  const packaged = base_source.startsWith("package:");
  const base = packaged ? "./base" : base_source;
  const note = packaged ? `# ./base: where the worker has ${base_source}, which no hub has.\n` : "";
  const revision = base_revision === null || packaged ? "" : `, revision=${JSON.stringify(base_revision)}`;
  const url = `${use().config.apiUrl}/fine_tuning/jobs/${job_id}/adapter`;
  return [
    {
      label: "Download all of it",
      text:
        `mkdir -p adapter && cd adapter\ncurl -s ${url} -H "authorization: Bearer $TUNEBASE_API_KEY" \\\n` +
        "  | jq -r '.files[].url' | xargs -n 1 curl -OJ",
    },
    {
      label: "PEFT",
      text: `${note}from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained(${JSON.stringify(base)}${revision})
model = PeftModel.from_pretrained(base, "./adapter")
tokenizer = AutoTokenizer.from_pretrained("./adapter")`,
    },
    {
      label: "vLLM",
      text: `${note}vllm serve ${base}${
        base_revision === null || packaged ? "" : ` --revision ${base_revision}`
      } \\
  --enable-lora --lora-modules tuned=./adapter
# then ask for "model": "tuned"`,
    },
  ];
}
