/** `task operator`: every documented command and the effect of its SQL. */
import { DeployError } from "../../deploy/errors.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { help, operator, UsageError } from "../../cli/operator.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { startTunebase } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const run = async (...args: string[]) => {
  const text = await operator(args, undefined);
  const statement = text.slice(
    Math.max(text.indexOf("select "), text.indexOf("update "), text.indexOf("-- ")),
  );
  return { text, rows: await sql.unsafe(statement) };
};
const settings = async () => (await sql`select * from tunebase_internal.settings`)[0];

Deno.test("an owner can be added and gets a working key", async () => {
  const email = "o'neil@example.com";
  const { data } = await tunebase.user().then(({ supabase }) =>
    supabase.auth.signUp({ email, password: "correct horse" })
  );
  await assertRejects(() => run("api-key", email), Error, "owns no project");
  await run("owner", email, "--name", "O'Neil's");
  const { text } = await run("api-key", email);
  const key = text.split("\n")[0] ?? "";
  const response = await fetch(`${tunebase.url}/functions/v1/tunebase/me`, {
    headers: { authorization: `Bearer ${key}` },
  });
  const me = await response.json();
  assertEquals([me.project.name, me.project.limits.spent_usd, me.api_key.name], [
    "O'Neil's",
    50,
    "First key",
  ]);
  assert(!text.split("\n").slice(1).join("\n").includes(key), "the SQL holds the key's hash alone");
  const [row] = await sql`select role from tunebase.project_members where user_id = ${data.user?.id ?? null}`;
  assertEquals(row?.role, "owner");
});

Deno.test("sign-up can be opened and closed, and opening it limits caps", async () => {
  await run("spend-cap", "none");
  await run("signup", "open");
  const open = await settings();
  assertEquals([open?.signup, Number(open?.default_spend_cap_usd), Number(open?.max_spend_cap_usd)], [
    "open",
    50,
    50,
  ]);
  await assertRejects(() => run("spend-cap", "none"));
  await assertRejects(() => run("spend-cap", "none", "--max"), Error, "open_signup_needs_caps");
  await run("signup", "invite");
  await run("spend-cap", "none", "--max");
  assertEquals((await settings())?.signup, "invite");
});

Deno.test("spend caps can be set as default, as maximum, and per project", async () => {
  await run("spend-cap", "12.5");
  await run("spend-cap", "200", "--max");
  const now = await settings();
  assertEquals([Number(now?.default_spend_cap_usd), Number(now?.max_spend_cap_usd)], [12.5, 200]);
  const user = await tunebase.user();
  const cap = async () => {
    const [row] = await sql`select spend_cap_usd from tunebase.projects where id = ${user.projectId}`;
    return row?.spend_cap_usd === null ? null : Number(row?.spend_cap_usd);
  };
  assertEquals(await cap(), 12.5);
  const project = `proj_${user.projectId.replaceAll("-", "")}`;
  await run("spend-cap", "500", "--project", project);
  assertEquals(await cap(), 500);
  await run("spend-cap", "none", "--project", project);
  assertEquals(await cap(), null);
});

Deno.test("a base model can be served, priced, and withdrawn from serving", async () => {
  const row = async () => {
    const [found] = await sql`select inference_endpoint_id as endpoint, inference_max_rank as rank,
      inference_max_length as length, inference_usd_per_million_input_tokens::float8 as input,
      inference_usd_per_million_output_tokens::float8 as output, inference_usd_per_hour::float8 as hourly
      from tunebase.base_models`;
    return found;
  };
  const model = "SmolLM2-135M-Instruct";
  const prices = ["--input", "0.1", "--output", "0.4", "--hourly", "2.5"];
  await run(
    "inference",
    model,
    "--endpoint",
    "4x0kfy2q",
    "--max-rank",
    "64",
    "--max-length",
    "4096",
    ...prices,
  );
  const served = { endpoint: "4x0kfy2q", rank: 64, length: 4096, input: 0.1, output: 0.4, hourly: 2.5 };
  assertEquals(await row(), served);
  await run("inference", model, "--input", "0.2");
  assertEquals(await row(), { ...served, input: 0.2 });
  await run("inference", model, "--endpoint", "none");
  assertEquals((await row())?.endpoint, null);
  const secret = await operator(["inference-secret", "4x0kfy2q"], tunebase.keys.masterKey);
  assertEquals(secret, deriveSecret(tunebase.keys.masterKey, "inference/4x0kfy2q"));
});

Deno.test("an invalid command prints the correct usage", async () => {
  for (
    const args of [
      [],
      ["ownr"],
      ["owner"],
      ["owner", "nobody"],
      ["owner", "a@b.c", "--name"],
      ["signup", "maybe"],
      [
        "spend-cap",
        "-3",
      ],
      ["inference"],
      ["inference", "m"],
      ["inference", "m", "--endpoint", "a b"],
      ["inference", "m", "--input", "free"],
      ["spend-cap", "0"],
      ["spend-cap", "5", "--project", "x"],
      ["spend-cap", "5", "--max", "--project", "x"],
      [
        "signup",
        "open",
        "more",
      ],
    ]
  ) {
    const error = await assertRejects(() => operator(args, undefined), UsageError);
    assert(error.message.length > 10, args.join(" "));
  }
});

Deno.test("a missing or malformed master key is an error that says where the key is", async () => {
  for (const key of [undefined, "", "not base64!", btoa("short")]) {
    for (const args of [["scheduler-secret"], ["metrics-secret"], ["inference-secret", "x"]]) {
      const error = await assertRejects(() => operator(args, key), DeployError, "TUNEBASE_MASTER_KEY");
      assertStringIncludes(error.fix, "vault.decrypted_secrets");
    }
  }
});

Deno.test("the documentation lists the existing commands", async () => {
  const docs = await Deno.readTextFile(new URL("../../docs/deploy.md", import.meta.url));
  const shown = [...docs.matchAll(/task operator ([a-z-]+)/g)].map(([, command]) => command ?? "");
  for (const command of ["master-key", "scheduler-secret", "owner", "api-key", "signup", "spend-cap"]) {
    assert(shown.includes(command), command);
    assertStringIncludes(help, `task operator ${command}`);
  }
});
