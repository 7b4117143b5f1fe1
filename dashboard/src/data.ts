/** What pages read of the API: each a hook over the typed client, kept under a key. */
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/preact-query";
import { type Schemas, unwrap } from "../../client/mod.ts";
import { use } from "./services.ts";

export type Job = Schemas["FineTuningJob"];
export type File = Schemas["File"];
export type Report = NonNullable<File["report"]>;
export type Finding = Report["warnings"][number];
export type BaseModel = Schemas["BaseModel"];
export type FineTunedModel = Schemas["FineTunedModel"];
export type Event = Schemas["FineTuningJobEvent"];
export type Point = Schemas["MetricsPoint"];

interface Page<Item> {
  data: Item[];
  has_more: boolean;
  last_id: string | null;
}

/** A list of the API, page by page; `items` are those of the pages so far. */
export function usePages<Item, Answer extends Page<Item>>(
  key: readonly unknown[],
  read: (after: string | undefined) => Promise<Answer & Page<Item>>,
  options: { refetchInterval?: number } = {},
) {
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam }) => read(pageParam ?? undefined),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.has_more ? page.last_id : null,
    ...options,
  });
  const items = query.data?.pages.flatMap((page) => page.data);
  return { ...query, data: items, pages: query.data?.pages };
}

/** A change, after which what is kept under these keys is read again. */
export function useChange<Answer, Input = void>(
  change: (input: Input) => Promise<Answer>,
  stale: readonly (readonly unknown[])[] = [],
) {
  const cache = useQueryClient();
  return useMutation<Answer, Error, Input>({
    mutationFn: change,
    onSettled: async () => {
      await Promise.all(stale.map((queryKey) => cache.invalidateQueries({ queryKey: [...queryKey] })));
    },
  });
}

export const useMe = () =>
  useQuery({ queryKey: ["me"], queryFn: async () => unwrap(await use().api.GET("/me")), staleTime: 60_000 });

/** May the caller do this in the project? Unknown is no. */
export function useMay(scope: string): boolean {
  const { data } = useMe();
  return data?.scopes.includes(scope) === true && data.project?.status !== "archived";
}

export const useModels = () =>
  useQuery({
    queryKey: ["models"],
    staleTime: 60_000,
    queryFn: async () => {
      const { data } = unwrap(await use().api.GET("/models"));
      return {
        base: data.filter((model): model is BaseModel => !("job_id" in model)),
        own: data.filter((model): model is FineTunedModel => "job_id" in model),
      };
    },
  });

const unfinished = ["validating_files", "queued", "running"];
export const isFinal = (status: Job["status"]): boolean =>
  ["succeeded", "failed", "cancelled"].includes(status);
export const isMoving = (job: Job): boolean => unfinished.includes(job.status);

export const jobKey = (id: string) => ["job", id] as const;
export const readJob = async (id: string): Promise<Job> =>
  unwrap(await use().api.GET("/fine_tuning/jobs/{id}", { params: { path: { id } } }));

export const fileKey = (id: string) => ["file", id] as const;
/** A file; read again while it is being checked. */
export const useFile = (id: string | null) =>
  useQuery({
    queryKey: fileKey(id ?? ""),
    queryFn: async () => unwrap(await use().api.GET("/files/{id}", { params: { path: { id: id ?? "" } } })),
    enabled: id !== null,
    refetchInterval: ({ state }) => state.data?.status === "uploaded" ? 1000 : false,
  });
