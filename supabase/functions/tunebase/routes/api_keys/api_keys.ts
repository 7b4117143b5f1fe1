/** GET, POST /api_keys; GET, POST, DELETE /api_keys/{id}. Only the response to POST /api_keys contains the key itself. */
import * as z from "zod";
import { defaultScopes, scopes } from "../../../_shared/contracts/scopes.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { sha256Hex } from "../../../_shared/secrets.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { cursor, pathId, publicId } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderList } from "../../serializers/list.ts";
import { renderApiKey } from "../../serializers/tenancy.ts";
import { ApiKeyRow, page } from "../../rows.ts";
import { defineRoute } from "../define.ts";

const name = z.string().trim().min(1).max(100);
const scopeList = z.array(z.enum(scopes)).min(1).transform((list) => [...new Set(list)]);

const expiresAt = z.int().refine(
  (time) => time * 1000 > Date.now() && time < 4_102_444_800,
  "must be in the future, in Unix seconds",
).nullish();
export const Create = strictObject({
  name,
  scopes: scopeList.default(() => [...defaultScopes]),
  expires_at: expiresAt,
});
export const Update = strictObject({
  name: name.optional(),
  scopes: scopeList.optional(),
  expires_at: expiresAt,
});
const time = (unix: number | null | undefined) => unix ? new Date(unix * 1000).toISOString() : unix;

async function createApiKey(c: ApiContext): Promise<Response> {
  const body = parseOrThrow(Create, await jsonBody(c.req));
  const key = newKey();
  const row = await rpc(c.get("platform").db, "create_api_key", {
    caller: c.get("caller"),
    key: {
      name: body.name,
      scopes: body.scopes,
      expires_at: time(body.expires_at),
      hint: `${key.slice(0, 6)}…${key.slice(-4)}`,
    },
    hash: sha256Hex(key),
  }, ApiKeyRow);
  c.header("cache-control", "no-store");
  c.set("version", row.version);
  return c.json({ ...renderApiKey(row), key });
}

async function listApiKeys(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const found = await rpc(c.get("platform").db, "list_api_keys", {
    caller: c.get("caller"),
    after: cursor("apiKey", after),
    limit,
  }, page(ApiKeyRow));
  return c.json(renderList(found, renderApiKey));
}

async function getApiKey(c: ApiContext): Promise<Response> {
  const args = { caller: c.get("caller"), id: keyId(c) };
  return shown(c, await rpc(c.get("platform").db, "get_api_key", args, ApiKeyRow));
}

async function updateApiKey(c: ApiContext): Promise<Response> {
  const id = keyId(c);
  const { expires_at, ...body } = parseOrThrow(Update, await jsonBody(c.req));
  const changes = { ...body, expires_at: time(expires_at) };
  const args = { caller: c.get("caller"), id, changes };
  return shown(c, await rpc(c.get("platform").db, "update_api_key", args, ApiKeyRow));
}

async function revokeApiKey(c: ApiContext): Promise<Response> {
  const id = keyId(c);
  await rpc(c.get("platform").db, "revoke_api_key", { caller: c.get("caller"), id });
  return c.json({ id: publicId("apiKey", id), object: "api_key" as const, deleted: true });
}

const keyId = (c: ApiContext) => pathId("apiKey", c.req.param("id"), "api_key_not_found");

/** `tb_` and 32 random bytes in base64url. */
function newKey(): string {
  const random = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))));
  return `tb_${random.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

function shown(c: ApiContext, row: ApiKeyRow): Response {
  c.set("version", row.version);
  return c.json(renderApiKey(row));
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/api_keys",
    id: "listApiKeys",
    summary: "List a project's API keys",
    scope: "project:read",
    paging: 100,
    response: "ApiKey[]",
    handler: listApiKeys,
  }),
  defineRoute({
    method: "POST",
    path: "/api_keys",
    id: "createApiKey",
    summary: "Create an API key",
    scope: "project:admin",
    body: Create,
    example: { name: "ci", scopes: ["files:write", "jobs:write", "jobs:read"] },
    response: "NewApiKey",
    errors: ["project_archived", "quota_exceeded"],
    handler: createApiKey,
  }),
  defineRoute({
    method: "GET",
    path: "/api_keys/{id}",
    id: "getApiKey",
    summary: "Get an API key",
    scope: "project:read",
    response: "ApiKey",
    errors: ["api_key_not_found"],
    handler: getApiKey,
  }),
  defineRoute({
    method: "POST",
    path: "/api_keys/{id}",
    id: "updateApiKey",
    summary: "Change an API key's name, scopes or expiry",
    scope: "project:admin",
    body: Update,
    example: { name: "ci, old" },
    response: "ApiKey",
    errors: ["api_key_not_found", "api_key_revoked", "project_archived"],
    ifMatch: true,
    handler: updateApiKey,
  }),
  defineRoute({
    method: "DELETE",
    path: "/api_keys/{id}",
    id: "revokeApiKey",
    summary: "Revoke an API key",
    scope: "project:admin",
    response: "Deleted",
    errors: ["api_key_not_found"],
    ifMatch: true,
    handler: revokeApiKey,
  }),
];
