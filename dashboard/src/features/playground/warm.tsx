/** Loads the chosen models before the first message. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { formatClock } from "../../lib/format.ts";
import { getServices } from "../../lib/services.ts";
import { ErrorMessage } from "../../ui/feedback.tsx";
import type { PlaygroundModel } from "./models.ts";

/** The API waits for up to five seconds itself. */
const pollIntervalMs = 5_000;

export function Warm({ models }: { models: PlaygroundModel[] }) {
  const ids = models.map(({ id }) => id).join(" ");
  /** The models that the user wants loaded. */
  const [wanted, setWanted] = useState<string | null>(null);
  const warm = useQuery({
    queryKey: ["warm", ids],
    enabled: wanted === ids,
    staleTime: Infinity,
    refetchOnWindowFocus: false,
    refetchInterval: ({ state }) => state.data === "loading" ? pollIntervalMs : false,
    queryFn: async () => {
      const answers = await Promise.all(
        models.map(async ({ id }) =>
          unwrap(await getServices().api.POST("/models/{id}/warm", { params: { path: { id } } }))
        ),
      );
      return answers.every(({ status }) => status === "ready") ? "ready" : "loading";
    },
  });
  const isLoading = wanted === ids && warm.error === null && warm.data !== "ready";
  return (
    <div class="actions warm">
      <button
        type="button"
        class="small"
        disabled={isLoading}
        onClick={() => {
          setWanted(ids);
          if (wanted === ids) void warm.refetch();
        }}
      >
        {models.length > 1 ? "Load the models" : "Load the model"}
      </button>
      <span class="quiet small" role="status">
        {isLoading
          ? "Loading on the GPU. This can take minutes …"
          : warm.data === "ready"
          ? `Loaded at ${formatClock(warm.dataUpdatedAt / 1000)}`
          : "An idle GPU shuts down. The next message starts it again, which can take minutes."}
      </span>
      {warm.error !== null && wanted === ids && <ErrorMessage error={warm.error} />}
    </div>
  );
}
