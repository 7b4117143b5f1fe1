/** Runs a command line, and turns what it throws into an exit code. */
import process from "node:process";
import { type Command, CommanderError } from "commander";
import { CliError, exitCodes, formatError } from "./errors.ts";
import { stderrColors } from "./terminal/output.ts";

/** Runs the process's only command line. */
export async function runProgram(program: Command, args: readonly string[]): Promise<void> {
  // `tunebase … | head` closes the pipe early; that is not an error.
  process.stdout.on("error", (error: Error & { code?: string }) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  await runCommand(program, args);
}

/** Parses `args` and runs the command. Sets the process's exit code. */
export async function runCommand(program: Command, args: readonly string[]): Promise<void> {
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    process.exitCode = reportError(error);
  }
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
