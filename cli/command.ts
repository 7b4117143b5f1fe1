/** How every command is made: with `--json`, and errors that end in one place. */
import { Argument, Command, InvalidArgumentError, Option } from "commander";

export { Argument, Command, InvalidArgumentError, Option };

/** What every command knows. */
export interface Common {
  json?: boolean;
}

/** A command below another one: `addCommand(jobs, "get <job>", "Show a job")`. */
export function addCommand(parent: Command, usage: string, description: string): Command {
  return parent.command(usage).description(description)
    .option("--json", "print the API's objects and nothing else on stdout");
}

/** A group of commands. */
export function addGroup(parent: Command, name: string, description: string): Command {
  return parent.command(name).description(description);
}

/** Examples below a command's help. */
export function examples(command: Command, ...lines: string[]): Command {
  return command.addHelpText(
    "after",
    `\nExamples:\n${lines.map((line) => `  $ tunebase ${line}`).join("\n")}`,
  );
}

/** A whole number of at least `least`. */
export const whole = (least = 0) => (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least) {
    throw new InvalidArgumentError(`It must be a whole number of at least ${least}.`);
  }
  return value;
};

/** A number above nothing. */
export function positive(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) {
    throw new InvalidArgumentError("It must be a number above 0.");
  }
  return value;
}

/** "30", "45m", "12h", "7d" as seconds. */
export function seconds(text: string): number {
  const [, number, unit = "s"] = /^(\d+)([smhd])?$/.exec(text) ?? [];
  if (number === undefined) {
    throw new InvalidArgumentError("It must look like 3600, 45m, 12h or 7d.");
  }
  return Number(number) * ({ s: 1, m: 60, h: 3600, d: 86_400 }[unit] ?? 1);
}

/** `name=value`, given any number of times. */
export function pair(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("It must look like name=value.");
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}
