/** Hooks over the typed client that several features share. */
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/preact-query";
import { unwrap } from "../../../client/mod.ts";
import { getServices } from "./services.ts";
import type { BaseModel, FineTunedModel } from "./types.ts";

interface ApiPage<Item> {
  data: Item[];
  has_more: boolean;
  last_id: string | null;
}

/** A list of the API. `data` holds the items of all pages loaded so far. */
export function usePaginated<Item, Response extends ApiPage<Item>>(
  queryKey: readonly unknown[],
  fetchPage: (after: string | undefined) => Promise<Response & ApiPage<Item>>,
  options: { refetchInterval?: number } = {},
) {
  const query = useInfiniteQuery({
    queryKey,
    queryFn: ({ pageParam }) => fetchPage(pageParam ?? undefined),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.has_more ? page.last_id : null,
    ...options,
  });
  const items = query.data?.pages.flatMap((page) => page.data);
  return { ...query, data: items, pages: query.data?.pages };
}

/** A request that changes something; afterwards, the queries with these keys are refetched. */
export function useApiMutation<Response, Input = void>(
  mutationFn: (input: Input) => Promise<Response>,
  invalidates: readonly (readonly unknown[])[] = [],
) {
  const cache = useQueryClient();
  return useMutation<Response, Error, Input>({
    mutationFn,
    onSettled: async () => {
      await Promise.all(
        invalidates.map((queryKey) => cache.invalidateQueries({ queryKey: [...queryKey] })),
      );
    },
  });
}

export const useMe = () =>
  useQuery({
    queryKey: ["me"],
    queryFn: async () => unwrap(await getServices().api.GET("/me")),
    staleTime: 60_000,
  });

/** Whether the user has this scope in the current project; false while that is loading. */
export function usePermission(scope: string): boolean {
  const { data } = useMe();
  return data?.scopes.includes(scope) === true &&
    data.project?.status !== "archived";
}

export const useModels = () =>
  useQuery({
    queryKey: ["models"],
    staleTime: 60_000,
    queryFn: async () => {
      const { data } = unwrap(await getServices().api.GET("/models"));
      return {
        base: data.filter((model): model is BaseModel => !("job_id" in model)),
        fineTuned: data.filter((model): model is FineTunedModel => "job_id" in model),
      };
    },
  });
