/** What the base and the tuned model say to the same rows, where the adapter holds a `samples.json`. */
import { useQuery } from "@tanstack/preact-query";
import type { Schemas } from "../../../../client/mod.ts";
import { Facts, Loaded } from "../../ui/basics.tsx";

/** As the trainer writes them: `{samples: [...]}`. */
interface Sample {
  line?: number;
  prompt: string;
  expected?: string;
  base: string;
  /** false: the answer was cut. */
  base_finished?: boolean;
  tuned: string;
  tuned_finished?: boolean;
}

const isSample = (value: unknown): value is Sample =>
  typeof value === "object" && value !== null &&
  ["prompt", "base", "tuned"].every((name) => typeof Reflect.get(value, name) === "string");

export function Samples({ files }: { files: Schemas["DownloadFile"][] }) {
  const file = files.find(({ path }) => path === "samples.json");
  const samples = useQuery({
    queryKey: ["samples", file?.sha256],
    enabled: file !== undefined,
    staleTime: Infinity,
    queryFn: async () => {
      const response = await fetch(file?.url ?? "");
      if (!response.ok) throw new Error(`samples.json was answered with ${response.status}`);
      const read: unknown = await response.json();
      const list = typeof read === "object" && read !== null && "samples" in read ? read.samples : null;
      return Array.isArray(list) ? list.filter(isSample) : [];
    },
  });
  return (
    <>
      <h3>Base and tuned</h3>
      <Loaded of={samples}>
        {(list) => (
          <ul class="samples" aria-label="Base and tuned on the same rows">
            {list.map(({ prompt, expected, base, base_finished, tuned, tuned_finished }, n) => (
              <li key={n}>
                <p>{prompt}</p>
                <Facts
                  of={[
                    ["Expected", expected ?? "–"],
                    ["Base", `${base}${base_finished === false ? " …" : ""}`],
                    ["Tuned", `${tuned}${tuned_finished === false ? " …" : ""}`],
                  ]}
                />
              </li>
            ))}
          </ul>
        )}
      </Loaded>
    </>
  );
}
