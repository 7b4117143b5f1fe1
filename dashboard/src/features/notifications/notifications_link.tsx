/** The navigation link to the notifications, with the number of unread ones. */
import { useQuery } from "@tanstack/preact-query";
import { unwrap } from "../../../../client/mod.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";

const pollIntervalMs = 30_000;

export function NotificationsLink({ isCurrent }: { isCurrent: boolean }) {
  const { data } = useQuery({
    queryKey: ["notifications", "unread"],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/notifications", {
          params: { query: { limit: 1 } },
        }),
      ),
    refetchInterval: pollIntervalMs,
  });
  const unread = data?.unread_count ?? 0;
  return (
    <a
      href={href(["notifications"])}
      aria-current={isCurrent ? "page" : undefined}
    >
      Notifications{unread > 0 && (
        <>
          {" "}
          <span class="badge">{unread > 99 ? "99+" : unread}</span>
          <span class="unseen">unread</span>
        </>
      )}
    </a>
  );
}
