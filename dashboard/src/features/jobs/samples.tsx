/** Answers of the base and the fine-tuned model to the same prompts, from the adapter's `samples.json`. */
import { useQuery } from "@tanstack/preact-query";
import type { DownloadFile } from "../../lib/types.ts";
import { FieldList } from "../../ui/display.tsx";
import { QueryBoundary } from "../../ui/feedback.tsx";

/** The trainer writes `{samples: [...]}`. */
interface Sample {
  line?: number;
  prompt: string;
  expected?: string;
  base: string;
  /** false: the answer was truncated. */
  base_finished?: boolean;
  tuned: string;
  tuned_finished?: boolean;
}

const isSample = (value: unknown): value is Sample =>
  typeof value === "object" && value !== null &&
  ["prompt", "base", "tuned"].every((name) => typeof Reflect.get(value, name) === "string");

export function Samples({ files }: { files: DownloadFile[] }) {
  const file = files.find(({ path }) => path === "samples.json");
  const samples = useQuery({
    queryKey: ["samples", file?.sha256],
    enabled: file !== undefined,
    staleTime: Infinity,
    queryFn: async () => {
      const response = await fetch(file?.url ?? "");
      if (!response.ok) {
        throw new Error(
          `Could not load samples.json (HTTP ${response.status}).`,
        );
      }
      const json: unknown = await response.json();
      const list = typeof json === "object" && json !== null && "samples" in json ? json.samples : null;
      return Array.isArray(list) ? list.filter(isSample) : [];
    },
  });
  return (
    <>
      <h3>Base and fine-tuned answers</h3>
      <QueryBoundary query={samples} what="samples">
        {(list) => (
          <ul class="samples" aria-label="Base and fine-tuned answers">
            {list.map((
              { prompt, expected, base, base_finished, tuned, tuned_finished },
              n,
            ) => (
              <li key={n}>
                <p>{prompt}</p>
                <FieldList
                  fields={[
                    ["Expected", expected ?? "–"],
                    ["Base", `${base}${base_finished === false ? " …" : ""}`],
                    [
                      "Fine-tuned",
                      `${tuned}${tuned_finished === false ? " …" : ""}`,
                    ],
                  ]}
                />
              </li>
            ))}
          </ul>
        )}
      </QueryBoundary>
    </>
  );
}
