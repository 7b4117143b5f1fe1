/** `docs/reliability.md` names a test for each promise: each test exists. */
import { assert } from "#assert";

const docs = new URL("../../docs/", import.meta.url);

/** Patterns of a file's test names; template placeholders match any text. */
async function testsOf(file: URL): Promise<RegExp[]> {
  const text = await Deno.readTextFile(file);
  const names = file.pathname.endsWith(".py")
    ? [...text.matchAll(/def (test_\w+)\(/g)]
    : [...text.matchAll(/Deno\.test\(\s*(?:"((?:[^"\\]|\\.)*)"|`([^`]*)`)/g)];
  return names.map(([, plain, template]) => {
    const parts = (plain ?? template ?? "").split(template === undefined ? "\0" : /\$\{[^}]*\}/);
    return new RegExp(`^${parts.map((part) => part.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")).join(".+")}$`);
  });
}

Deno.test("every test named in docs/reliability.md exists", async () => {
  const text = await Deno.readTextFile(new URL("reliability.md", docs));
  const named = [...text.matchAll(/\[([^\]]+)\]\((\.\.\/[\w/]+(?:_test\.ts|\.py))\)/g)];
  assert(named.length > 80, `only ${named.length} tests are named`);
  const known = new Map<string, RegExp[]>();
  for (const [, name = "", path = ""] of named) {
    const tests = known.get(path) ?? await testsOf(new URL(path, docs));
    known.set(path, tests);
    assert(tests.some((test) => test.test(name)), `${path} has no test named “${name}”`);
  }
});
