#!/usr/bin/env -S deno run -A
/**
 * The entry point of the `tunebase` CLI. `task cli` bundles it into one file for Node 20+; `deno run -A cli/main.ts` runs
 * the source. `docs/cli.md` documents the output and the exit codes.
 */
import process from "node:process";
import { CommanderError } from "commander";
import { CliError, exitCodes, formatError } from "./errors.ts";
import { createProgram } from "./program.ts";
import { stderrColors } from "./terminal/output.ts";

// `tunebase … | head` closes the pipe early; that is not an error.
process.stdout.on("error", (error: Error & { code?: string }) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

try {
  await createProgram().parseAsync(process.argv);
} catch (error) {
  process.exitCode = reportError(error);
}

/** Prints the error and returns the exit code. */
function reportError(error: unknown): number {
  // Commander has already printed its message or the requested help.
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  }
  const text = formatError(error);
  if (text !== "") process.stderr.write(`${stderrColors.red("error:")} ${text}\n`);
  if (process.env.TUNEBASE_DEBUG && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`);
  }
  return error instanceof CliError ? error.exitCode : exitCodes.failed;
}
