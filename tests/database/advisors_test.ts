/** Supabase's own advisors on the schema: only accepted findings. */
import { assertEquals } from "#assert";
import * as z from "zod";
import { supabaseCli } from "../../local/stack/migrate.ts";
import { testDatabase } from "../support/database.ts";

const database = await testDatabase();
Deno.test.afterAll(() => database.close());

const Advice = z.object({
  results: z.array(z.object({
    name: z.string(),
    level: z.string(),
    detail: z.string(),
    metadata: z.object({ schema: z.string().optional(), name: z.string().optional() }).nullish(),
  })),
});

/** Functions with bodies resolved at creation: no search_path can redirect them. */
const resolved = new Set(
  (await database.sql<{ name: string }[]>`
    select proname as name from pg_proc
    where pronamespace = 'tunebase_internal'::regnamespace and prosqlbody is not null and not prosecdef`)
    .map(({ name }) => name),
);

/** Accepted findings. Any other finding must be fixed in the schema. */
function answered({ name, level, metadata }: z.infer<typeof Advice>["results"][number]): boolean {
  switch (name) {
    case "function_search_path_mutable":
      return metadata?.schema === "tunebase_internal" && resolved.has(metadata.name ?? "");
    case "unused_index":
      return true; // no query has used an index in this database
    case "unindexed_foreign_keys":
      return true; // access_control_test.ts has the list with reasons
    case "rls_enabled_no_policy":
      // Only security definer functions read these: they have no policy on purpose.
      return level === "INFO" && metadata?.schema === "tunebase_internal";
    default:
      return false;
  }
}

async function advice(): Promise<string[]> {
  const remote = `--remote=${database.url("postgres")}?sslmode=disable`;
  const output = await supabaseCli([
    "db",
    "advisors",
    remote,
    "--level=info",
    "--fail-on=none",
    "--output-format=json",
  ]);
  return Advice.parse(JSON.parse(output)).results.filter((one) => !answered(one)).map(({ detail }) => detail);
}

Deno.test("Supabase's advisors report only accepted findings", async () => {
  assertEquals(await advice(), []);
});

Deno.test("the advisors detect a table without row-level security and a mutable search_path", async () => {
  await database.sql.unsafe(`
    create table public.open (id int);
    create function public.misled() returns int language sql security definer as 'select 1';`);
  const output = (await advice()).join("\n");
  assertEquals([output.includes("public.open"), output.includes("public.misled")], [true, true], output);
});
