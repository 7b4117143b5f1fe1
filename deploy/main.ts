/** `task deploy`, `task destroy` and `task doctor`, with emulators of both platforms. */
import { Command } from "commander";
import { addDeploy } from "./commands.ts";
import type { StartEmulators } from "./installation.ts";
import { addDoctor } from "./doctor/command.ts";
import { exitCodes } from "../cli/errors.ts";
import { runProgram } from "../cli/run.ts";
import { version } from "../cli/version.ts";
import { install } from "../local/commands/install.ts";
import { startPlatforms } from "../local/emulators/platforms.ts";
import { join } from "../local/paths.ts";
import { homeDirectory } from "../local/state_dir.ts";

/** The emulated accounts of a profile keep their state, like real accounts. */
const startEmulators: StartEmulators = async (profile) => {
  const log = (line: string) => console.error(line);
  await install(log);
  const platforms = await startPlatforms({
    home: join(homeDirectory(), "platforms", profile),
    log: () => {},
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, async () => {
      await platforms.stop();
      Deno.exit(exitCodes.interrupted);
    });
  }
  return platforms;
};

const program = new Command("deno task").version(version, "-V, --version", "print the version")
  .exitOverride();
addDeploy(program, startEmulators);
addDoctor(program, startEmulators);
await runProgram(program, Deno.args);
