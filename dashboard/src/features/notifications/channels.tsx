/** Where notifications go outside the dashboard: email and Slack. */
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import {
  type ChannelKind,
  channelKinds,
  channels,
} from "../../../../supabase/functions/_shared/contracts/channels.ts";
import { useApiMutation, usePaginated, usePermission } from "../../lib/queries.ts";
import { getServices } from "../../lib/services.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { Status, Time } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Field, Form } from "../../ui/forms.tsx";
import { Table } from "../../ui/table.tsx";

export function Channels() {
  const canEdit = usePermission("webhooks:write");
  const list = usePaginated(
    ["channels"],
    async (after) =>
      unwrap(
        await getServices().api.GET("/notification_channels", {
          params: { query: { ...(after ? { after } : {}) } },
        }),
      ),
  );
  return (
    <>
      <h2>Channels</h2>
      <QueryBoundary query={list} what="channels">
        {(items) =>
          items.length === 0
            ? (
              <EmptyState title="No channels yet">
                <p>
                  Add an email address or a Slack webhook to get notifications outside the dashboard.
                </p>
              </EmptyState>
            )
            : (
              <Table
                label="Channels"
                columns={["Target", "Status", "Added", ""]}
              >
                {items.map((channel) => (
                  <ChannelRow
                    key={channel.id}
                    channel={channel}
                    canEdit={canEdit}
                  />
                ))}
              </Table>
            )}
      </QueryBoundary>
      {canEdit && <AddChannel />}
    </>
  );
}

function AddChannel() {
  const [kind, setKind] = useState<ChannelKind>("email");
  const [target, setTarget] = useState("");
  const create = useApiMutation(async () => {
    unwrap(
      await getServices().api.POST("/notification_channels", {
        body: { kind, target },
      }),
    );
    setTarget("");
  }, [["channels"]]);
  return (
    <Form mutation={create} title="Add a channel" submit="Add channel">
      <div class="fields">
        <Field label="Channel">
          {(control) => (
            <select
              {...control}
              value={kind}
              onChange={(event) =>
                setKind(
                  channelKinds[event.currentTarget.selectedIndex] ?? "email",
                )}
            >
              {channelKinds.map((name) => <option key={name} value={name}>{channels[name].label}</option>)}
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
  );
}

function ChannelRow(
  { channel, canEdit }: {
    channel: Schemas["NotificationChannel"];
    canEdit: boolean;
  },
) {
  const { id, kind, target, enabled, disabled_reason, created_at } = channel;
  const params = { path: { id } };
  const test = useApiMutation(async () => {
    const { success, status_code, response } = unwrap(
      await getServices().api.POST("/notification_channels/{id}/test", {
        params,
      }),
    );
    if (!success) {
      throw new Error(
        `The test failed with status ${status_code}: ${response ?? "no response"}`,
      );
    }
  });
  const toggle = useApiMutation(
    async () =>
      unwrap(
        await getServices().api.POST("/notification_channels/{id}", {
          params,
          body: { enabled: !enabled },
        }),
      ),
    [["channels"]],
  );
  const remove = useApiMutation(
    async () =>
      unwrap(
        await getServices().api.DELETE("/notification_channels/{id}", {
          params,
        }),
      ),
    [["channels"]],
  );
  return (
    <tr>
      <th scope="row">
        {channels[kind].label} <span class="quiet">{target}</span>
      </th>
      <td>
        <Status value={enabled ? "enabled" : "disabled"} />
        {disabled_reason && <div class="small">{disabled_reason}</div>}
      </td>
      <td>
        <Time at={created_at} />
      </td>
      <td>
        {canEdit && (
          <div class="actions">
            <ActionButton mutation={test} label="Send test" />
            <ActionButton
              mutation={toggle}
              label={enabled ? "Disable" : "Enable"}
            />
            <ActionButton
              mutation={remove}
              label="Delete"
              danger
              confirmation={{
                text: `${target} will no longer receive notifications.`,
                confirm: "Delete channel",
              }}
            />
          </div>
        )}
      </td>
    </tr>
  );
}
