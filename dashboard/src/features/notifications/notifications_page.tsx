/** In-app notifications, and the channels that deliver them elsewhere. */
import { unwrap } from "../../../../client/mod.ts";
import { useApiMutation, usePaginated } from "../../lib/queries.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { Status, Time } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { LoadMore, Table } from "../../ui/table.tsx";
import { Channels } from "./channels.tsx";

export function NotificationsPage() {
  const notifications = usePaginated(
    ["notifications", "list"],
    async (after) =>
      unwrap(
        await getServices().api.GET("/notifications", {
          params: { query: { limit: 25, ...(after ? { after } : {}) } },
        }),
      ),
  );
  const markAllRead = useApiMutation(
    async () => unwrap(await getServices().api.POST("/notifications/read")),
    [["notifications"]],
  );
  const markRead = useApiMutation<unknown, string>(
    async (id) =>
      unwrap(
        await getServices().api.POST("/notifications/{id}/read", {
          params: { path: { id } },
        }),
      ),
    [["notifications"]],
  );
  const unread = notifications.pages?.[0]?.unread_count ?? 0;
  return (
    <Page
      title="Notifications"
      actions={unread > 0 && (
        <ActionButton
          mutation={{ ...markAllRead, mutate: () => markAllRead.mutate() }}
          label="Mark all as read"
        />
      )}
    >
      <QueryBoundary query={notifications} what="notifications">
        {(items) =>
          items.length === 0
            ? (
              <EmptyState title="No notifications yet">
                <p>
                  You're notified here when a job finishes, fails or needs your attention.
                </p>
              </EmptyState>
            )
            : (
              <>
                <Table
                  label="Notifications"
                  columns={["Time", "Notification", ""]}
                >
                  {items.map((
                    {
                      id,
                      created_at,
                      level,
                      title,
                      text,
                      fine_tuning_job_id,
                      read_at,
                    },
                  ) => (
                    <tr key={id}>
                      <td>
                        <Time at={created_at} />
                      </td>
                      <th
                        scope="row"
                        style={{ fontWeight: read_at === null ? 600 : 400 }}
                      >
                        {level !== "info" && <Status value={level} />} {title}
                        <div class="quiet small" style={{ fontWeight: 400 }}>
                          {text}
                        </div>
                        {fine_tuning_job_id && (
                          <a
                            class="small"
                            href={href(["jobs", fine_tuning_job_id])}
                          >
                            View job
                          </a>
                        )}
                      </th>
                      <td>
                        {read_at === null && (
                          <button
                            type="button"
                            class="small"
                            aria-label={`Mark as read: ${title}`}
                            onClick={() => markRead.mutate(id)}
                          >
                            Mark as read
                          </button>
                        )}
                      </td>
                    </tr>
                  ))}
                </Table>
                <LoadMore query={notifications} />
              </>
            )}
      </QueryBoundary>
      <Channels />
    </Page>
  );
}
