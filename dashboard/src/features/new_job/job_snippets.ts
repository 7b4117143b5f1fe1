/** Code that creates the job of the form. It runs as pasted, with the key in TUNEBASE_API_KEY. */
import { findIntegration } from "../../../../supabase/functions/_shared/contracts/integrations.ts";
import type { Snippet } from "../../lib/types.ts";
import { pythonLiteral } from "../playground/snippets.ts";
import type { JobRequest } from "./form.ts";

/** Fields that OpenAI's API does not have: its Python SDK sends them as `extra_body`. */
const ownFields = ["spend_cap_usd", "auto_start"];

export const jobSnippets = (apiUrl: string, body: JobRequest): Snippet[] => [
  { label: "CLI", text: cli(apiUrl, body) },
  { label: "curl", text: curl(apiUrl, body) },
  { label: "Python", text: python(apiUrl, body) },
  { label: "Node", text: node(apiUrl, body) },
];

/** In single quotes, which a shell leaves as they are. */
const quote = (text: string) => /^[\w./:@=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

function cli(apiUrl: string, body: JobRequest): string {
  const { method } = body;
  const hyperparameters = (method?.type === "dpo" ? method.dpo : method?.supervised)?.hyperparameters ?? {};
  const hub = findIntegration({ integrations: body.integrations ?? null }, "huggingface")?.huggingface;
  const options = [
    ["--model", body.model],
    ...(body.validation_file ? [["--validation", body.validation_file]] : []),
    ...Object.entries(hyperparameters).map(([name, value]) => [
      "--set",
      `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`,
    ]),
    ...(body.suffix ? [["--suffix", body.suffix]] : []),
    ...(typeof body.seed === "number" ? [["--seed", String(body.seed)]] : []),
    ...(typeof body.spend_cap_usd === "number" ? [["--spend-cap", String(body.spend_cap_usd)]] : []),
    ...Object.entries(body.metadata ?? {}).map(([key, value]) => ["--metadata", `${key}=${value}`]),
    ...(hub === undefined ? [] : [["--push-to-hub", hub.repo]]),
    ...(hub?.private === false ? [["--hub-public"]] : []),
    ...(body.auto_start === false ? [["--no-start"]] : []),
  ].map((words) => words.map(quote).join(" "));
  return [
    `export TUNEBASE_BASE_URL=${quote(apiUrl)}`,
    [`tunebase jobs create ${body.training_file}`, ...options].join(" \\\n  "),
  ].join("\n");
}

/** The JSON is indented, so that no line of it ends the here document. */
const curl = (apiUrl: string, body: JobRequest) =>
  `curl ${apiUrl}/fine_tuning/jobs \\
  -H "authorization: Bearer $TUNEBASE_API_KEY" \\
  -H "content-type: application/json" \\
  -d @- <<'JSON'
${JSON.stringify(body, null, 2)}
JSON`;

function python(apiUrl: string, body: JobRequest): string {
  const fields = Object.entries(body).filter(([name]) => !ownFields.includes(name));
  const own = Object.entries(body).filter(([name]) => ownFields.includes(name));
  const all = own.length === 0 ? fields : [...fields, ["extra_body", Object.fromEntries(own)] as const];
  return `# pip install openai
import os
from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(apiUrl)}, api_key=os.environ["TUNEBASE_API_KEY"])
job = client.fine_tuning.jobs.create(
${all.map(([name, value]) => `    ${name}=${pythonLiteral(value, 1)},`).join("\n")}
)
print(job.id)`;
}

const node = (apiUrl: string, body: JobRequest) =>
  `// npm install openai; save as tune.mjs; node tune.mjs
import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${JSON.stringify(apiUrl)}, apiKey: process.env.TUNEBASE_API_KEY });
const job = await client.fine_tuning.jobs.create(${JSON.stringify(body, null, 2)});
console.log(job.id);`;
