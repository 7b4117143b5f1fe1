/** Helpers for declaring commands, and parsers for option values. */
import { Argument, Command, InvalidArgumentError, Option } from "commander";

export { Argument, Command, InvalidArgumentError, Option };

/** Options of every command. */
export interface CommonOptions {
  json?: boolean;
}

/** Adds a command with `--json`: `addCommand(jobs, "get <job>", "Show a job")`. */
export function addCommand(
  parent: Command,
  usage: string,
  description: string,
  json = "print only the API's JSON on stdout",
): Command {
  return parent.command(usage).description(description).option("--json", json);
}

/** Adds a group of commands. */
export function addGroup(parent: Command, name: string, description: string): Command {
  return parent.command(name).description(description);
}

/** Explains `<job>` in a command's help. */
export function explainJobArgument(command: Command): Command {
  return command.addHelpText("after", "\n<job> is a job ID, the beginning of one, or latest.");
}

/** Adds examples to a command's help. */
export function addExamples(command: Command, ...lines: string[]): Command {
  return command.addHelpText(
    "after",
    `\nExamples:\n${lines.map((line) => `  $ tunebase ${line}`).join("\n")}`,
  );
}

/** Parses an integer of at least `min`. */
export const parseInteger = (min = 0) => (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < min) {
    throw new InvalidArgumentError(`It must be a whole number of at least ${min}.`);
  }
  return value;
};

/** Parses a number greater than 0. */
export function parsePositive(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) {
    throw new InvalidArgumentError("It must be a number greater than 0.");
  }
  return value;
}

/** Parses a temperature from 0 to 2. */
export function parseTemperature(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 2)) {
    throw new InvalidArgumentError("It must be a number from 0 to 2.");
  }
  return value;
}

/** Parses "30", "45m", "12h" or "7d" into seconds. */
export function parseDuration(text: string): number {
  const [, number, unit = "s"] = /^(\d+)([smhd])?$/.exec(text) ?? [];
  if (number === undefined) {
    throw new InvalidArgumentError("It must be a duration such as 3600, 45m, 12h or 7d.");
  }
  return Number(number) * ({ s: 1, m: 60, h: 3600, d: 86_400 }[unit] ?? 1);
}

/** Parses `name=value`. Repeated options accumulate. */
export function parsePair(text: string, previous: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("It must have the form name=value.");
  return { ...previous, [text.slice(0, at)]: text.slice(at + 1) };
}

/** Splits "a, b,c" into its items. */
export const parseList = (text: string): string[] => text.split(",").map((item) => item.trim());
