/** Queries for stored completions. */
import { unwrap } from "../../../../client/mod.ts";
import { usePaginated } from "../../lib/queries.ts";
import { getServices } from "../../lib/services.ts";

export interface CompletionFilter {
  model: string;
  /** `key=value`, or empty. */
  metadata: string;
}

/** The metadata of a filter; null: not `key=value`. */
export function parseMetadata(text: string): Record<string, string> | null {
  if (text.trim() === "") return {};
  const at = text.indexOf("=");
  const key = text.slice(0, at).trim();
  return at < 1 || key === "" ? null : { [key]: text.slice(at + 1).trim() };
}

/** Stored completions that match, newest first. */
export const useCompletions = ({ model, metadata }: CompletionFilter) =>
  usePaginated(
    ["completions", { model, metadata }],
    async (after) =>
      unwrap(
        await getServices().api.GET("/chat/completions", {
          params: {
            query: {
              limit: 20,
              order: "desc",
              ...(after ? { after } : {}),
              ...(model === "" ? {} : { model }),
            },
          },
          // The names of these parameters are the user's: `metadata[rating]=good`.
          querySerializer: (query) =>
            String(
              new URLSearchParams([
                ...Object.entries(query).map((
                  [name, value],
                ) => [name, String(value)]),
                ...Object.entries(parseMetadata(metadata) ?? {}).map((
                  [key, value],
                ) => [`metadata[${key}]`, value]),
              ]),
            ),
        }),
      ),
  );
