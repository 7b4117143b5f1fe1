/** Links, commands, settings and alerts in the documentation exist. */
import { assert, assertEquals } from "#assert";
import { root } from "../../local/state_dir.ts";
import { exists, join } from "../../local/paths.ts";

const pages = [
  "README.md",
  "CHANGELOG.md",
  "CODE_OF_CONDUCT.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "trainer/README.md",
  "inference/README.md",
  ...await pagesOf("docs"),
];
const text = new Map(
  await Promise.all(pages.map(async (page) => [page, await Deno.readTextFile(join(root, page))] as const)),
);

async function pagesOf(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir(join(root, folder))) {
    if (name.endsWith(".md")) found.push(`${folder}/${name}`);
  }
  return found.sort();
}

async function sources(folder: string, ending: string): Promise<string> {
  const found: string[] = [];
  for await (const { name, isFile, isDirectory } of Deno.readDir(join(root, folder))) {
    if (isDirectory) found.push(await sources(`${folder}/${name}`, ending));
    else if (isFile && name.endsWith(ending)) found.push(await Deno.readTextFile(join(root, folder, name)));
  }
  return found.join("\n");
}

Deno.test("every link to a file or heading resolves", async () => {
  const broken: string[] = [];
  for (const [page, content] of text) {
    for (const [, target = ""] of content.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [path = "", heading] = target.split("#");
      const file = path === "" ? page : new URL(path, `file:///${page}`).pathname.slice(1);
      if (!await exists(join(root, file))) broken.push(`${page}: ${target}`);
      else if (heading && !headings(text.get(file) ?? "").includes(heading)) {
        broken.push(`${page}: ${target}`);
      }
    }
  }
  assertEquals(broken, []);
});

/** Heading anchors, as GitHub generates them. */
const headings = (page: string) =>
  [...page.matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) =>
    title.toLowerCase().replace(/[^\p{L}\p{N}\- ]/gu, "").replaceAll(" ", "-")
  );

Deno.test("every file named in the documentation exists", async () => {
  const missing: string[] = [];
  for (const [page, content] of text) {
    const names = content.matchAll(
      /`((?:docs|local|supabase|tests|trainer|bench|examples|cli|client)\/[\w./-]*\w\.(?:ts|py|md|sql|json|toml))`/g,
    );
    for (const [, name = ""] of names) if (!await exists(join(root, name))) missing.push(`${page}: ${name}`);
  }
  assertEquals(missing, []);
});

Deno.test("every documented task exists, with the Deno version that CI uses", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(join(root, "deno.json")));
  const ci = /deno@[\d.]+/.exec(await Deno.readTextFile(join(root, ".ci/run")))?.[0] ?? "";
  for (const [page, content] of text) {
    for (const [, name = ""] of content.matchAll(/deno@[\d.]+ task ([a-z-]+)/g)) {
      assert(name in tasks, `${page} names task ${name}`);
    }
    for (const [version] of content.matchAll(/deno@[\d.]+/g)) assertEquals(version, ci, page);
  }
});

Deno.test("every setting of the functions is documented", async () => {
  const code = await sources("supabase/functions", ".ts");
  const names = [...code.matchAll(/"((?:TUNEBASE|RUNPOD|RESEND)_[A-Z_]+)"/g)].map(([, name = ""]) => name);
  const deploy = [...text].filter(([page]) => page.startsWith("docs/")).map(([, content]) => content).join(
    "\n",
  );
  assert(names.length > 10);
  assertEquals([...new Set(names)].filter((name) => !deploy.includes(name)), []);
});

Deno.test("every alert is documented", async () => {
  const sql = await sources("supabase/migrations", ".sql");
  const kinds = [...sql.matchAll(/tunebase_internal\.raise_alert\(\s*'(\w+)'/g)].map(([, kind = ""]) => kind);
  assert(kinds.length > 3);
  const operations = text.get("docs/operations.md") ?? "";
  assertEquals([...new Set(kinds)].filter((kind) => !operations.includes(`| \`${kind}\``)), []);
});
