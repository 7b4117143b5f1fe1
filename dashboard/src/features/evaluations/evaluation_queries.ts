/** Queries for evaluations. */
import { useQuery } from "@tanstack/preact-query";
import { useEffect, useRef } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { usePaginated } from "../../lib/queries.ts";
import { getServices } from "../../lib/services.ts";
import type { Evaluation } from "../../lib/types.ts";

const pollIntervalMs = 2000;
const rowsPerPage = 100;

export const evaluationKey = (id: string) => ["evaluation", id] as const;

/** An evaluation; polls while it runs. */
export const useEvaluation = (id: string) =>
  useQuery({
    queryKey: evaluationKey(id),
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/evaluations/{id}", {
          params: { path: { id } },
        }),
      ),
    refetchInterval: ({ state }) => state.data?.status === "running" ? pollIntervalMs : false,
  });

/** The newest evaluations, of one model or of all. */
export const useEvaluations = (filter: { model?: string }) =>
  usePaginated(
    ["evaluations", filter],
    async (after) =>
      unwrap(
        await getServices().api.GET("/evaluations", {
          params: {
            query: { limit: 20, ...filter, ...(after ? { after } : {}) },
          },
        }),
      ),
    // A list can have running evaluations of other members.
    { refetchInterval: 5000 },
  );

/** The evaluated rows with their answers; refetched whenever there are new answers. */
export function useEvaluationRows({ id, answered, status }: Evaluation) {
  const rows = usePaginated(
    ["evaluation rows", id],
    async (after) =>
      unwrap(
        await getServices().api.GET("/evaluations/{id}/rows", {
          params: {
            path: { id },
            query: { limit: rowsPerPage, ...(after ? { after } : {}) },
          },
        }),
      ),
  );
  const seen = useRef(`${answered} ${status}`);
  useEffect(() => {
    if (seen.current === `${answered} ${status}`) return;
    seen.current = `${answered} ${status}`;
    void rows.refetch();
  }, [answered, status]);
  return rows;
}

/** `12 of 40 answers` */
export const describeProgress = (
  { answered, rows, models }: Evaluation,
): string => `${answered.toLocaleString()} of ${(rows * models.length).toLocaleString()} answers`;
