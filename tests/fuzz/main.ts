/** `task fuzz`: a long Schemathesis run against the API. */
import { parseArgs } from "node:util";
import { startTestPostgres } from "../support/postgres_server.ts";
import { fuzz } from "./fuzz.ts";

const help = `Usage: deno task fuzz [--examples N] [--seed N] [--help]

Sends valid and invalid requests to every operation of the API, and compares the responses with its OpenAPI document.

  --examples N   maximum requests per operation, in addition to those for schema boundaries (default 100)
  --seed N       repeats a run (default: the clock)

Exit status 1 if a response violates the document.`;

const { values } = parseArgs({
  args: Deno.args,
  options: { examples: { type: "string" }, seed: { type: "string" }, help: { type: "boolean" } },
});
if (values.help) {
  console.log(help);
  Deno.exit(0);
}
const examples = Number(values.examples ?? 100);
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
if (!Number.isInteger(examples) || examples < 1 || !Number.isInteger(seed) || seed < 0) {
  console.error(
    `--examples = ${values.examples}, --seed = ${values.seed}: must be whole numbers above 0.\n\n${help}`,
  );
  Deno.exit(2);
}
console.log(`seed ${seed}, ${examples} examples`);
const server = await startTestPostgres("fuzz");
Deno.env.set("TUNEBASE_TEST_DB_URL", server.url);
try {
  const { ok } = await fuzz({ examples, seed, show: true });
  Deno.exitCode = ok ? 0 : 1;
} finally {
  await server.stop();
}
