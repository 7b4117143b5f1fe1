/** The functions' way to SQL: what goes through it stays a value, and goes once. */
import { assertEquals, assertRejects } from "@std/assert";
import { call, connect } from "../supabase/functions/_shared/database.ts";
import { testDatabase } from "./database.ts";
import { startSlowLine } from "./slow_line.ts";

const database = await testDatabase();
Deno.test.afterAll(() => database.close());
await database
  .sql`create function tunebase_internal.echo(p_text text, p_number real, p_true boolean, p_json jsonb) returns jsonb
  language sql as 'select jsonb_build_array(p_text, p_number, p_true, p_json)'`;

const texts = [
  "plain",
  "",
  "it's",
  "';select 1;--",
  "\\'; drop table tunebase.jobs; --",
  "a\\",
  "\\\\'",
  "E'x\\'y'",
  "$1 $$ $tag$ :name %s ?",
  "line\nfeed\ttab",
  "ünïcödé 🐘 \u202e",
];

for (const conforming of ["on", "off"]) {
  Deno.test(`every text arrives as it was sent, with standard_conforming_strings ${conforming}`, async () => {
    const url = new URL(database.url("postgres"));
    url.searchParams.set("standard_conforming_strings", conforming);
    const sql = connect(url.href);
    const [setting] = await sql`show standard_conforming_strings`;
    assertEquals(setting, { standard_conforming_strings: conforming });
    for (const text of texts) {
      const said = { [text]: [text, 0.5, null, true] };
      assertEquals(await call(sql, "echo", text, -1.5, true, { json: said }), [text, -1.5, true, said]);
    }
    assertEquals(await call(sql, "echo", null, null, null, { json: null }), [null, null, null, null]);
    await sql.end();
  });
}

Deno.test("a text with a NUL character is refused before it is sent", async () => {
  const sql = connect(database.url("postgres"));
  const error = await assertRejects(() => call(sql, "echo", "a\0b", 1, true, { json: null }), Error);
  assertEquals(error.message, "a text with a NUL character cannot be stored");
  await sql.end();
});

Deno.test("a call is one round trip", async () => {
  const url = new URL(database.url("postgres"));
  const line = startSlowLine(Number(url.port), 0);
  url.port = String(line.port);
  const sql = connect(url.href);
  await call(sql, "echo", "warm", 1, true, { json: {} });
  const before = line.trips;
  for (let n = 0; n < 10; n++) await call(sql, "echo", "x", n, true, { json: { n } });
  assertEquals(line.trips - before, 10);
  await sql.end();
  await line.stop();
});
