/** The event types that a webhook endpoint can subscribe to. */
import { useQuery } from "@tanstack/preact-query";
import { unwrap } from "../../../../client/mod.ts";
import { getServices } from "../../lib/services.ts";

export const useEventTypes = () =>
  useQuery({
    queryKey: ["event types"],
    staleTime: Infinity,
    queryFn: async () => unwrap(await getServices().api.GET("/webhook_event_types")).data,
  });
export type EventType = NonNullable<
  ReturnType<typeof useEventTypes>["data"]
>[number];

/** `fine_tuning.job.succeeded` as `job.succeeded` */
export const shortEventType = (type: string) => type.replace("fine_tuning.", "");
