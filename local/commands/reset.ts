/**
 * `task reset`: removes the embedded stack's data and keys, and the emulated platforms with what was deployed to them;
 * installed tools and converted models are kept.
 */
import { deleteState, loadState } from "../../deploy/state.ts";
import { removePlatforms } from "../emulators/platforms.ts";
import { homeDirectory } from "../state_dir.ts";
import { exists, join, removeIfThere } from "../paths.ts";
import { postgresDirectory } from "../stack/postgres.ts";
import { endLeftovers, runningStack } from "../stack/processes.ts";

const help = `Removes the embedded stack's data, keys and logs, and deployments to emulators.

  npx -y deno@2.9.6 task reset          keeps what is installed and the converted model
  npx -y deno@2.9.6 task reset --force  stops a running stack first`;

const unknown = Deno.args.find((argument) => argument !== "--force" && argument !== "--help");
if (unknown !== undefined || Deno.args.includes("--help")) {
  console.log(unknown === undefined ? help : `Unknown option ${unknown}.\n\n${help}`);
  Deno.exit(unknown === undefined ? 0 : 2);
}

const home = homeDirectory();
const running = await runningStack(home);
if (running !== null && !Deno.args.includes("--force")) {
  console.error(`A stack runs here (pid ${running.pid}, ${running.url}). Stop it first, or use --force.`);
  Deno.exit(1);
}
if (running !== null) {
  Deno.kill(running.pid, "SIGTERM");
  for (let waited = 0; waited < 150 && await runningStack(home) !== null; waited++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
const platforms = join(home, "platforms");
for await (const { name: profile } of await exists(platforms) ? Deno.readDir(platforms) : []) {
  try {
    await removePlatforms(join(platforms, profile));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
  // Without its emulated platforms, a deployment could not be removed later. A hosted one with that name is kept.
  const isEmulated = await loadState(profile, "emulators").then(() => true, () => false);
  if (isEmulated) await deleteState(profile);
}
await endLeftovers(home);
await removeIfThere(await postgresDirectory(home));
for (const name of ["storage", "logs", "work", "inference", "demo", "demo.json", "keys.json", "stack.json"]) {
  await removeIfThere(join(home, name));
}
console.log(`The data in ${home} was removed. Installed tools are kept.`);
