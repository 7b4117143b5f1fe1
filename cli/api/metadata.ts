/** The API's metadata limits, checked before any upload. */
import { limits } from "../../supabase/functions/_shared/contracts/limits.ts";
import { CliError, exitCodes } from "../errors.ts";

/** Throws a CliError for metadata that the API would reject. */
export function checkMetadata(metadata: Record<string, string> = {}): void {
  const entries = Object.entries(metadata);
  const problem = entries.length > limits.metadataKeys
    ? `it has ${entries.length} keys; the maximum is ${limits.metadataKeys}`
    : entries.some(([key]) => key.length > limits.metadataKeyLength)
    ? `a key has more than ${limits.metadataKeyLength} characters`
    : entries.some(([, value]) => value.length > limits.metadataValueLength)
    ? `a value has more than ${limits.metadataValueLength} characters`
    : null;
  if (problem !== null) throw new CliError(`--metadata: ${problem}.`, exitCodes.usage);
}
