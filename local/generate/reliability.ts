/**
 * The tables of docs/reliability.md, from the tests. A comment directly above a test names the claims that it proves:
 * `// @proves KEY, KEY`, in Python `# @proves KEY`. A test whose name is a template needs one comment per case, with the
 * case's name: `// @proves KEY: the full name`.
 */
import { join } from "../paths.ts";
import { root } from "../state_dir.ts";
import { claims } from "./reliability_claims.ts";

interface Proof {
  path: string;
  test: string;
}

/** Comments with claims, then the name of a TypeScript test, as a string or a template, or of a Python test. */
const annotated =
  /((?:^[ \t]*(?:\/\/|#) @proves .+\n)+)(?:[ \t]*Deno\.test\(\s*(?:"((?:[^"\\]|\\.)*)"|`([^`]*)`)|[ \t]*(?:async )?def (test_\w+)\()?/gm;

/** The tests that prove each claim, by path and position. Throws if a comment names no claim, or a claim has no test. */
export async function proofs(): Promise<Map<string, Proof[]>> {
  const found = new Map<string, Proof[]>(
    Object.values(claims).flatMap((section) => Object.keys(section)).map((key) => [key, []]),
  );
  for (const path of [...await filesOf("tests", "_test.ts"), ...await filesOf("trainer/tests", ".py")]) {
    const text = await Deno.readTextFile(join(root, path));
    for (const [, comments = "", plain, template, python] of text.matchAll(annotated)) {
      for (const [, keys = "", name] of comments.matchAll(/@proves ([\w, -]+?)(?:: (.+))?$/gm)) {
        const test = testName(path, plain ?? python, template, name);
        for (const key of keys.split(", ")) {
          const tests = found.get(key);
          if (tests === undefined) throw new Error(`${path}: “${test}” proves the unknown claim ${key}`);
          tests.push({ path, test });
        }
      }
    }
  }
  const unproven = [...found].filter(([, tests]) => tests.length === 0).map(([key]) => key);
  if (unproven.length > 0) throw new Error(`no test proves ${unproven.join(", ")}`);
  return found;
}

function testName(path: string, plain?: string, template?: string, given?: string): string {
  if (plain !== undefined && given === undefined) return plain;
  if (template !== undefined && given !== undefined) {
    const parts = template.split(/\$\{[^}]*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"));
    if (new RegExp(`^${parts.join(".+")}$`).test(given)) return given;
  }
  throw new Error(
    `${path}: @proves does not match the test below it: ${given ?? template ?? "there is none"}`,
  );
}

/** The rows of a section's table: claim and tests. */
export function claimRows(section: keyof typeof claims, tests: Map<string, Proof[]>): string[][] {
  return Object.entries(claims[section]).map(([key, claim]) => [
    claim,
    (tests.get(key) ?? []).map(({ path, test }) => `[${test}](../${path})`).join("<br>"),
  ]);
}

async function filesOf(folder: string, ending: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isFile, isDirectory } of Deno.readDir(join(root, folder))) {
    const path = `${folder}/${name}`;
    if (isDirectory) found.push(...await filesOf(path, ending));
    else if (isFile && name.endsWith(ending)) found.push(path);
  }
  return found.sort();
}
