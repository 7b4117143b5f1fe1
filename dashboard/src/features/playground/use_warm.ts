/** Loads models on the GPU before the first request. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { getServices } from "../../lib/services.ts";

/** The API waits for up to five seconds itself. */
const pollIntervalMs = 5_000;

export interface Warming {
  isLoading: boolean;
  /** Unix milliseconds; null: not loaded here. An idle GPU shuts down later. */
  loadedAt: number | null;
  error: Error | null;
  load: () => void;
}

/** Repeats the request until all models are ready. */
export function useWarm(models: readonly string[]): Warming {
  const ids = models.join(" ");
  /** The models that the user wants loaded. */
  const [wanted, setWanted] = useState<string | null>(null);
  const isWanted = wanted === ids;
  const warm = useQuery({
    queryKey: ["warm", ids],
    enabled: isWanted,
    staleTime: Infinity,
    refetchOnWindowFocus: false,
    refetchInterval: ({ state }) => state.data === "loading" ? pollIntervalMs : false,
    queryFn: async () => {
      const answers = await Promise.all(
        models.map(async (id) =>
          unwrap(
            await getServices().api.POST("/models/{id}/warm", {
              params: { path: { id } },
            }),
          )
        ),
      );
      return answers.every(({ status }) => status === "ready") ? "ready" : "loading";
    },
  });
  return {
    isLoading: isWanted && warm.error === null && warm.data !== "ready",
    loadedAt: warm.data === "ready" ? warm.dataUpdatedAt : null,
    error: isWanted ? warm.error : null,
    load: () => {
      setWanted(ids);
      if (isWanted) void warm.refetch();
    },
  };
}
