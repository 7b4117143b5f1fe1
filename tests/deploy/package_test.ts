/** The npm package: packed, installed into an empty folder without a network, and run under Node. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { buildPackage } from "../../cli/build.ts";
import { startPlatforms } from "../../local/emulators/platforms.ts";
import { projectVersion } from "../../local/generate/version.ts";
import { join } from "../../local/paths.ts";
import { root } from "../../local/state_dir.ts";

const home = await Deno.makeTempDir({ prefix: "tunebase package " });
Deno.test.afterAll(() => Deno.remove(home, { recursive: true }));

async function run(folder: string, command: string, args: string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(command, {
    args,
    cwd: folder,
    clearEnv: true,
    env: { PATH: Deno.env.get("PATH") ?? "", HOME: home, NO_COLOR: "1", ...env },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** Redirects requests to the hosted platforms, because the package has no emulators and no setting for other addresses. */
const redirect = (to: Record<string, string>) => `
const to = ${JSON.stringify(to)};
const original = globalThis.fetch;
globalThis.fetch = (input, init) => {
  const url = String(input instanceof Request ? input.url : input);
  const [from, target] = Object.entries(to).find(([from]) => url.startsWith(from)) ?? [];
  if (from === undefined) throw new Error("a request to " + url);
  const moved = target + url.slice(from.length);
  return original(input instanceof Request ? new Request(moved, input) : moved, init);
};
`;

Deno.test("the package installs without dependencies, has its version, and plans a deployment", async () => {
  const source = join(home, "package");
  const project = join(home, "empty");
  await Deno.mkdir(source);
  await Deno.mkdir(project);
  await Deno.copyFile(join(root, "cli/npm/package.json"), join(source, "package.json"));
  await Deno.copyFile(join(root, "cli/npm/README.md"), join(source, "README.md"));
  await buildPackage(source);
  const packed = await run(source, "npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", home]);
  assertEquals(packed.code, 0, packed.err);
  const [{ filename, files }] = JSON.parse(packed.out);
  const paths: string[] = files.map(({ path }: { path: string }) => path);
  for (
    const path of [
      "LICENSE",
      "README.md",
      "tunebase.js",
      "files/import_map.json",
      "files/models/smollm2-135m.toml",
      "files/supabase/uninstall.sql",
      "files/supabase/functions/tunebase/index.ts",
      "files/supabase/functions/_shared/version.ts",
    ]
  ) assert(paths.includes(path), path);
  assertEquals(paths.filter((path) => /_test\.ts$|\.env|\.pem$/.test(path)), []);

  const offline = ["--offline", "--no-audit", "--no-fund", "--cache", join(home, "cache")];
  const installed = await run(project, "npm", ["install", ...offline, join(home, filename)]);
  assertEquals(installed.code, 0, installed.err);
  assertEquals(
    [...Deno.readDirSync(join(project, "node_modules"))].filter(({ name }) => !name.startsWith(".")).length,
    1,
  );
  const version = await run(project, "npx", ["--offline", "tunebase", "--version"]);
  assertEquals(version.out.trim(), await projectVersion(), version.err);
  const tunebase = (args: string[], env = {}) => run(project, "node_modules/.bin/tunebase", args, env);
  const help = await tunebase(["deploy", "--help"]);
  assertStringIncludes(help.out, "--dry-run");
  assert(!help.out.includes("emulators"), help.out);

  const platforms = await startPlatforms({ home: join(home, "platforms"), log: () => {} });
  const hub = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    () => Response.json({ sha: "0".repeat(40), siblings: [{ rfilename: "tokenizer.json" }] }),
  );
  try {
    const preload = join(project, "redirect.mjs");
    await Deno.writeTextFile(
      preload,
      redirect({
        "https://api.supabase.com": platforms.target.supabaseApi,
        "https://api.runpod.io/v2": platforms.target.runpodRest,
        "https://huggingface.co": `http://127.0.0.1:${hub.addr.port}`,
      }),
    );
    const env = {
      NODE_OPTIONS: `--import "${preload.replaceAll(" ", "\\ ")}"`,
      SUPABASE_ACCESS_TOKEN: platforms.supabaseToken,
      RUNPOD_API_KEY: platforms.runpodKey,
    };
    const digest = `@sha256:${"a".repeat(64)}`;
    const planned = await tunebase([
      ...["deploy", "--dry-run", "--json", "--project-name", "tunebase", "--region", "emea", "--no-owner"],
      ...["--models", "smollm2-135m", "--trainer-image", `ghcr.io/acme/trainer${digest}`],
      ...["--inference-image", `ghcr.io/acme/inference${digest}`],
    ], env);
    assertEquals(planned.code, 0, planned.err);
    const plan = JSON.parse(planned.out);
    assert(plan.changes.length > 5, planned.out);
    assert(plan.costs.idleUsdPerMonth > 0);
    const away = await tunebase(["doctor", "--profile", "default"], env);
    assertEquals(away.code, 1);
    assertStringIncludes(away.err, "Profile default is not deployed");
  } finally {
    await hub.shutdown();
    await platforms.stop();
  }
});
