/** Source formats as people call them. */
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

/** A source format as people call it: "Alpaca (CSV)" for `alpaca_csv`. An unknown one stays as it is. */
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
