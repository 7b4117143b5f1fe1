#!/usr/bin/env -S deno run -A
/**
 * `tunebase`: the command line. `task cli` bundles it into one file for Node 20+; `deno run -A cli/main.ts` runs it as it
 * is. One file a group of commands; what they print and how they end is said in `docs/cli.md`.
 */
import process from "node:process";
import { CommanderError } from "commander";
import { createProgram } from "./program.ts";
import { CliError, exits, explain } from "./errors.ts";
import { paintErr } from "./output.ts";

// A reader that has seen enough (`| head`) is no error.
process.stdout.on("error", (error: Error & { code?: string }) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

try {
  await createProgram().parseAsync(process.argv);
} catch (error) {
  process.exitCode = end(error);
}

/** Says what went wrong; returns the exit code. */
function end(error: unknown): number {
  // Commander has printed its sentence, or the help that was asked for.
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? exits.ok : exits.usage;
  }
  const text = explain(error);
  if (text !== "") process.stderr.write(`${paintErr.red("error:")} ${text}\n`);
  if (process.env.TUNEBASE_DEBUG && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`);
  }
  return error instanceof CliError ? error.exit : exits.failed;
}
