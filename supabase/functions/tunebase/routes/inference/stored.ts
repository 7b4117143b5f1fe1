/** GET /chat/completions; GET, DELETE /chat/completions/{id}; GET …/{id}/messages: completions sent with `store: true`. */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { parseOrThrow } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { cursor, pathId, publicId } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { page, StoredCompletionRow } from "../../rows.ts";
import { renderList } from "../../serializers/list.ts";
import { seconds } from "../../time.ts";
import { defineRoute } from "../define.ts";

export const Query = z.object({
  model: z.string().optional(),
  order: z.enum(["asc", "desc"]).default("asc"),
});

async function listCompletions(c: ApiContext): Promise<Response> {
  const query = c.req.query();
  const { limit, after } = paging(query);
  const { model, order } = parseOrThrow(Query, query);
  const metadata = Object.entries(query).flatMap(([name, value]) => {
    const key = /^metadata\[(.+)\]$/.exec(name)?.[1];
    return key === undefined ? [] : [[key, value] as const];
  });
  const found = await rpc(c.get("platform").db, "list_completions", {
    caller: c.get("caller"),
    filter: { model, ...(metadata.length > 0 ? { metadata: Object.fromEntries(metadata) } : {}) },
    after: cursor("completion", after),
    ascending: order === "asc",
    limit,
  }, page(StoredCompletionRow));
  return c.json(renderList(found, renderCompletion));
}

async function find(c: ApiContext): Promise<StoredCompletionRow> {
  const args = { caller: c.get("caller"), id: completionId(c) };
  return await rpc(c.get("platform").db, "get_completion", args, StoredCompletionRow);
}

const getCompletion = async (c: ApiContext) => c.json(renderCompletion(await find(c)));

async function listMessages(c: ApiContext): Promise<Response> {
  const { id, messages } = renderCompletion(await find(c));
  const data = messages.map((message, i) => ({ ...message, id: `${id}-${i}` }));
  return c.json(renderList({ data, has_more: false }, (message) => message));
}

async function deleteCompletion(c: ApiContext): Promise<Response> {
  const id = completionId(c);
  await rpc(c.get("platform").db, "delete_completion", { caller: c.get("caller"), id });
  return c.json({ id: publicId("completion", id), object: "chat.completion.deleted", deleted: true });
}

const completionId = (c: ApiContext) => pathId("completion", c.req.param("id"), "completion_not_found");

const Stored = z.object({
  response: z.looseObject({
    object: z.literal("chat.completion"),
    created: z.int(),
    choices: z.array(z.unknown()),
  }),
  metadata: z.record(z.string(), z.string()),
  messages: z.array(z.looseObject({ role: z.string() })),
  tools: z.array(z.looseObject({})).nullable(),
});

function renderCompletion(row: StoredCompletionRow) {
  const { response, metadata, messages, tools } = Stored.parse(row);
  return {
    ...response,
    id: publicId("completion", row.id),
    model: row.model,
    metadata,
    messages,
    tools,
    expires_at: seconds(row.expires_at),
  };
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/chat/completions",
    id: "listChatCompletions",
    summary: "List stored chat completions",
    description: "Those sent with `store: true`. Filter by metadata with `metadata[key]=value`.",
    scope: "files:read",
    paging: 100,
    query: Query,
    response: "StoredCompletion[]",
    handler: listCompletions,
  }),
  defineRoute({
    method: "GET",
    path: "/chat/completions/{id}",
    id: "getChatCompletion",
    summary: "Get a stored chat completion",
    scope: "files:read",
    response: "StoredCompletion",
    errors: ["completion_not_found"],
    handler: getCompletion,
  }),
  defineRoute({
    method: "GET",
    path: "/chat/completions/{id}/messages",
    id: "listChatCompletionMessages",
    summary: "List the messages of a stored chat completion",
    scope: "files:read",
    response: "StoredMessage[]",
    errors: ["completion_not_found"],
    handler: listMessages,
  }),
  defineRoute({
    method: "DELETE",
    path: "/chat/completions/{id}",
    id: "deleteChatCompletion",
    summary: "Delete a stored chat completion",
    scope: "files:write",
    response: "Deleted",
    errors: ["completion_not_found"],
    handler: deleteCompletion,
  }),
];
