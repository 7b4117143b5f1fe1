/** What happened, for people: the list, and where else they are told. */
import {
  type ChannelKind,
  channelKinds,
  channels,
} from "../../../supabase/functions/_shared/contracts/channels.ts";
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../client/mod.ts";
import { useChange, useMay, usePages } from "../data.ts";
import { href } from "../router.ts";
import { use } from "../services.ts";
import { Action, Form } from "../ui/actions.tsx";
import { Empty, Field, Loaded, More, Page, Status, Table, Time } from "../ui/basics.tsx";

export function NotificationsPage() {
  const list = usePages(
    ["notifications", "list"],
    async (after) =>
      unwrap(
        await use().api.GET("/notifications", {
          params: { query: { limit: 25, ...(after ? { after } : {}) } },
        }),
      ),
  );
  const readAll = useChange(async () => unwrap(await use().api.POST("/notifications/read")), [[
    "notifications",
  ]]);
  const readOne = useChange<unknown, string>(
    async (id) => unwrap(await use().api.POST("/notifications/{id}/read", { params: { path: { id } } })),
    [["notifications"]],
  );
  const unread = list.pages?.[0]?.unread_count ?? 0;
  return (
    <Page
      title="Notifications"
      actions={unread > 0 && (
        <Action of={{ ...readAll, mutate: () => readAll.mutate() }} label="Mark all as read" />
      )}
    >
      <Loaded of={list}>
        {(items) =>
          items.length === 0
            ? (
              <Empty>
                <p>Nothing yet. When a job ends, fails or needs you, it is told here.</p>
              </Empty>
            )
            : (
              <>
                <Table label="Notifications" head={["When", "What", ""]}>
                  {items.map(({ id, created_at, level, title, text, fine_tuning_job_id, read_at }) => (
                    <tr key={id}>
                      <td>
                        <Time at={created_at} />
                      </td>
                      <th scope="row" style={{ fontWeight: read_at === null ? 600 : 400 }}>
                        {level !== "info" && <Status of={level} />} {title}
                        <div class="quiet small" style={{ fontWeight: 400 }}>{text}</div>
                        {fine_tuning_job_id && (
                          <a class="small" href={href(["jobs", fine_tuning_job_id])}>To the job</a>
                        )}
                      </th>
                      <td>
                        {read_at === null && (
                          <button
                            type="button"
                            class="small"
                            aria-label={`Mark as read: ${title}`}
                            onClick={() => readOne.mutate(id)}
                          >
                            Mark as read
                          </button>
                        )}
                      </td>
                    </tr>
                  ))}
                </Table>
                <More of={list} />
              </>
            )}
      </Loaded>
      <Channels />
    </Page>
  );
}

function Channels() {
  const may = useMay("webhooks:write");
  const [kind, setKind] = useState<ChannelKind>("email");
  const [target, setTarget] = useState("");
  const existing = usePages(
    ["channels"],
    async (after) =>
      unwrap(
        await use().api.GET("/notification_channels", { params: { query: { ...(after ? { after } : {}) } } }),
      ),
  );
  const create = useChange(async () => {
    unwrap(await use().api.POST("/notification_channels", { body: { kind, target } }));
    setTarget("");
  }, [["channels"]]);
  return (
    <>
      <h2>Channels</h2>
      <Loaded of={existing}>
        {(list) =>
          list.length === 0
            ? (
              <p class="quiet">
                No channels yet. Add an email address or a Slack webhook to get notifications outside the
                dashboard.
              </p>
            )
            : (
              <Table label="Channels" head={["Target", "Status", "Added", ""]}>
                {list.map((channel) => <Channel key={channel.id} of={channel} may={may} />)}
              </Table>
            )}
      </Loaded>
      {may && (
        <Form of={create} title="Add a channel" label="Add">
          <div class="fields">
            <Field label="Channel">
              {(control) => (
                <select
                  {...control}
                  value={kind}
                  onChange={(event) => setKind(channelKinds[event.currentTarget.selectedIndex] ?? "email")}
                >
                  {channelKinds.map((name) => (
                    <option key={name} value={name}>{channels[name].label}</option>
                  ))}
                </select>
              )}
            </Field>
            <Field label={channels[kind].target}>
              {(control) => (
                <input
                  {...control}
                  type={channels[kind].input}
                  required
                  value={target}
                  onInput={(event) => setTarget(event.currentTarget.value)}
                />
              )}
            </Field>
          </div>
        </Form>
      )}
    </>
  );
}

function Channel({ of, may }: { of: Schemas["NotificationChannel"]; may: boolean }) {
  const path = { path: { id: of.id } };
  const test = useChange(async () => {
    const { success, status_code, response } = unwrap(
      await use().api.POST("/notification_channels/{id}/test", { params: path }),
    );
    if (!success) throw new Error(`It was answered with ${status_code}: ${response ?? "nothing"}`);
  });
  const toggle = useChange(
    async () =>
      unwrap(
        await use().api.POST("/notification_channels/{id}", { params: path, body: { enabled: !of.enabled } }),
      ),
    [["channels"]],
  );
  const remove = useChange(
    async () => unwrap(await use().api.DELETE("/notification_channels/{id}", { params: path })),
    [["channels"]],
  );
  return (
    <tr>
      <th scope="row">
        {of.kind} <span class="quiet">{of.target}</span>
      </th>
      <td>
        <Status of={of.enabled ? "enabled" : "disabled"} />
        {of.disabled_reason && <div class="small">{of.disabled_reason}</div>}
      </td>
      <td>
        <Time at={of.created_at} />
      </td>
      <td>
        {may && (
          <div class="actions">
            <Action of={test} label="Test" />
            <Action of={toggle} label={of.enabled ? "Switch off" : "Switch on"} />
            <Action of={remove} label="Delete" danger ask={`Tell nobody at ${of.target} any more?`} />
          </div>
        )}
      </td>
    </tr>
  );
}
