/** Requests for files and jobs, and the checks that every error response passes. */
import { assert, assertEquals } from "#assert";
import type { TestUser } from "./test_server.ts";

export const row = (text = "hi") =>
  JSON.stringify({ messages: [{ role: "user", content: text }, { role: "assistant", content: "ok" }] });
export const rows = [row("one"), row("two")].join("\n") + "\n";

export async function upload(
  user: TestUser,
  text: string | Uint8Array<ArrayBuffer> = rows,
  purpose = "fine-tune",
): Promise<Response> {
  const form = new FormData();
  form.append("purpose", purpose);
  form.append("file", new File([text], "rows.jsonl"));
  return await user.fetch("/files", { method: "POST", body: form });
}
export async function fileId(user: TestUser): Promise<string> {
  return (await (await upload(user)).json()).id;
}
export const create = (user: TestUser, body: unknown, headers: Record<string, string> = {}) =>
  user.fetch("/fine_tuning/jobs", {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  });
/** The problem in an error response. Checks the fields that every error must have. */
export async function problem(response: Response, status: number) {
  const body = await response.json();
  assertEquals(response.status, status, JSON.stringify(body));
  assertEquals(response.headers.get("content-type"), "application/problem+json");
  assertEquals(response.headers.get("x-should-retry"), "false");
  assert(response.headers.get("x-request-id"));
  assertEquals(body.status, status);
  assert(body.title && body.detail && body.error.code && body.error.type);
  assertEquals(body.error.message, body.detail);
  return body;
}
export const model = "SmolLM2-135M-Instruct";
