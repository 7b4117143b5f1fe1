/** The hyperparameter options of `estimate` and `jobs create`, checked before any upload. */
import {
  apiFields,
  apiName,
  field,
  type HyperparameterField,
} from "../../supabase/functions/_shared/contracts/hyperparameters.ts";
import { type Command, InvalidArgumentError, Option } from "../command.ts";
import { CliError, exitCodes } from "../errors.ts";

/** The hyperparameters that have an option of their own; all others use `--set`. */
const dedicatedOptions = apiFields.flatMap((name) => {
  const { cli } = field(name);
  return cli === undefined ? [] : [{ name, cli }];
});

export function addHyperparameterOptions(command: Command): void {
  for (const { name, cli } of dedicatedOptions) {
    command.option(`${cli.flag} <${cli.value}>`, cli.help, (text) => {
      const value = parseValue(field(name), text);
      const problem = findProblem(field(name), value);
      if (problem !== null) throw new InvalidArgumentError(`It ${problem}.`);
      return value;
    });
  }
}

/** The values by their names in the API. Throws a CliError for an unknown name or a value out of range. */
export function readHyperparameters(
  options: Record<string, unknown>,
  set: Record<string, string> = {},
): Record<string, unknown> {
  const dedicated = dedicatedOptions
    .map(({ name, cli }) => [apiName(name), options[new Option(cli.flag).attributeName()]] as const)
    .filter(([, value]) => value !== undefined);
  const others = Object.entries(set).map(([name, text]) => {
    const known = apiFields.find((candidate) => apiName(candidate) === name);
    if (known === undefined) {
      throw new CliError(
        `Unknown hyperparameter: ${name}. Available: ${apiFields.map(apiName).join(", ")}.`,
        exitCodes.usage,
      );
    }
    const value = parseValue(field(known), text);
    const problem = findProblem(field(known), value);
    if (problem !== null) throw new CliError(`--set ${name}=${text}: it ${problem}.`, exitCodes.usage);
    return [name, value] as const;
  });
  return Object.fromEntries([...dedicated, ...others]);
}

/** Numbers as numbers; `true`, `null` and `["merged"]` as JSON; anything else as a string. */
function parseValue(of: HyperparameterField, text: string): unknown {
  const isNumeric = of.kind === "number" || of.kind === "integer";
  if (isNumeric && text.trim() !== "" && !Number.isNaN(Number(text))) return Number(text);
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Why a value is invalid, or null. */
function findProblem(of: HyperparameterField, value: unknown): string | null {
  const orAuto = of.auto ? ' or "auto"' : "";
  if (of.auto && value === "auto") return null;
  switch (of.kind) {
    case "number":
    case "integer": {
      if (of.nullable && value === null) return null;
      const isInRange = typeof value === "number" && value <= (of.max ?? Infinity) &&
        (of.above ? value > of.min : value >= of.min);
      if (isInRange && (of.kind === "number" || Number.isInteger(value))) return null;
      const range = of.above
        ? `greater than ${of.min}${of.max === undefined ? "" : ` and at most ${of.max}`}`
        : `from ${of.min}${of.max === undefined ? "" : ` to ${of.max}`}`;
      return `must be ${of.kind === "integer" ? "a whole number" : "a number"} ${range}${orAuto}`;
    }
    case "switch":
      return typeof value === "boolean" ? null : `must be true or false${orAuto}`;
    case "choice":
      return of.values.some((one) => one === value)
        ? null
        : `must be one of ${of.values.join(", ")}${orAuto}`;
    case "list":
      return Array.isArray(value) && value.every((item) => of.values.includes(item))
        ? null
        : `must be a JSON array of ${of.values.map((one) => JSON.stringify(one)).join(", ")}`;
  }
}
