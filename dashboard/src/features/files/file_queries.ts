/** Queries for files. */
import { useQuery } from "@tanstack/preact-query";
import { unwrap } from "../../../../client/mod.ts";
import { getServices } from "../../lib/services.ts";

export const fileKey = (id: string) => ["file", id] as const;

/** A file; polls while the server validates it. */
export const useFile = (id: string | null) =>
  useQuery({
    queryKey: fileKey(id ?? ""),
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/files/{id}", {
          params: { path: { id: id ?? "" } },
        }),
      ),
    enabled: id !== null,
    refetchInterval: ({ state }) => state.data?.status === "uploaded" ? 1000 : false,
  });

/** The newest uploaded files that jobs can train on. */
export const useDataFiles = () =>
  useQuery({
    queryKey: ["files", "ready"],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/files", {
          params: { query: { purpose: "fine-tune", limit: 100 } },
        }),
      ).data,
  });
