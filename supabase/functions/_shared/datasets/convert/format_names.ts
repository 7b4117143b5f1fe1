/** Display names of source formats. */
import type { RowFormat } from "./detect.ts";

const formatNames: Record<RowFormat, string> = {
  chat: "Chat",
  preference: "Preferences",
  prompt_completion: "Prompt and completion",
  chosen_rejected: "Chosen and rejected",
  alpaca: "Alpaca",
  sharegpt: "ShareGPT",
  "brightrun-lora-v4": "brightrun-lora-v4",
};
const containerNames: Record<string, string> = {
  json: "JSON array",
  csv: "CSV",
  tsv: "TSV",
  parquet: "Parquet",
};

/** The display name of a source format: "Alpaca (CSV)" for `alpaca_csv`. An unknown format is returned unchanged. */
export function describeFormat(source: string): string {
  for (const [format, name] of Object.entries(formatNames)) {
    if (source === format) return name;
    const container = source.startsWith(`${format}_`)
      ? containerNames[source.slice(format.length + 1)]
      : undefined;
    if (container !== undefined) return `${name} (${container})`;
  }
  return source;
}
