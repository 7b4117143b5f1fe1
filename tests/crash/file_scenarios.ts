/** Scenarios of files that arrive in several requests: multipart and direct uploads, and their validation. */
import { assert, assertEquals } from "#assert";
import { maxInRequestBytes } from "../../supabase/functions/tunebase/incoming_file.ts";
import type { CrashHarness } from "./harness.ts";
import { done, type Run } from "./scenario.ts";

const row = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n';
const bytes = new TextEncoder().encode(row.repeat(20));
const params = {
  bytes: bytes.length,
  filename: "rows.jsonl",
  mime_type: "application/jsonl",
  purpose: "fine-tune" as const,
};
const uuid = (id: string) =>
  id.replace(/^[a-z]+[-_]/, "").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
const sendPart = async (harness: CrashHarness, id: string, data: Uint8Array<ArrayBuffer>) =>
  (await harness.openai.uploads.parts.create(id, { data: new File([data], "part") })).id;

/** The same rows as a table, which is converted. */
const csv = `prompt,completion\n${"a,b\n".repeat(100)}`;

/** An upload with two parts. */
async function uploaded(harness: CrashHarness, data = bytes): Promise<{ id: string; part_ids: string[] }> {
  const { id } = await harness.openai.uploads.create({ ...params, bytes: data.length });
  const part_ids = [
    await sendPart(harness, id, data.slice(0, 100)),
    await sendPart(harness, id, data.slice(100)),
  ];
  return { id, part_ids };
}

/** A file that waits for validation. */
async function waiting(harness: CrashHarness, data = bytes): Promise<string> {
  const { id, part_ids } = await uploaded(harness, data);
  const { file } = await harness.openai.uploads.complete(id, { part_ids });
  return file?.id ?? "";
}

type Direct = { id: string; target: { object: string; token: string } };
const direct = (harness: CrashHarness): Promise<Direct> =>
  harness.openai.post("/files/direct", {
    body: { filename: "a.jsonl", bytes: bytes.length, purpose: "fine-tune" },
  });

/** Runs the timer and the clock until the file is validated; returns its status, and whether its bytes are intact. */
async function settled(harness: CrashHarness, id: string, content = row.repeat(20)): Promise<unknown> {
  // A tick validates as much as its CPU budget allows: two copies of a large file take several.
  for (let round = 0; round < 20; round++) {
    const { status } = await harness.openai.files.retrieve(id);
    if (status !== "uploaded") {
      const whole = status === "processed" &&
        await (await harness.openai.files.content(id)).text() === content;
      return [status, whole, await clean(harness)];
    }
    await later(harness);
  }
  throw new Error("the file is never checked");
}

/** Lets leases expire and cleanups run; returns the number of parts left. */
async function clean(harness: CrashHarness): Promise<number> {
  for (let round = 0; round < 2; round++) {
    await harness.advanceTime(4000);
    await later(harness);
  }
  return await harness.count(
    `storage.objects o where bucket_id = 'tunebase-datasets' and (name like 'parts/%' or name like 'incoming/%')
      and not exists (select from tunebase.files f where o.name in (f.object, f.original_object))`,
  );
}

async function later(harness: CrashHarness): Promise<void> {
  await harness.tunebase.sql`update tunebase_internal.file_validations set next_at = now()`;
  await harness.tick();
}

const expire = (harness: CrashHarness) =>
  harness.tunebase.sql`update tunebase_internal.uploads set expires_at = now() where status = 'pending'`;

export const fileApi: Record<string, Run> = {
  "a file in another format is created": async (harness, arm) => {
    // An equal file's objects would be shared.
    const fresh = `${csv}${crypto.randomUUID()},b\n`;
    await arm();
    const { id } = await harness.openai.files.create({
      file: new File([fresh], "rows.csv"),
      purpose: "fine-tune",
    });
    return await settled(harness, id, fresh);
  },
  "a file too large to validate in its request is created": async (harness, arm) => {
    const content = row.repeat(Math.ceil(maxInRequestBytes / row.length) + 1);
    await arm();
    const { id } = await harness.openai.files.create({
      file: new File([content], "large.jsonl"),
      purpose: "fine-tune",
    });
    return await settled(harness, id, content);
  },
  "an upload is created": async (harness, arm) => {
    await arm();
    const { status } = await harness.openai.uploads.create(params);
    await expire(harness);
    return [status, await clean(harness)];
  },
  "a part is added": async (harness, arm) => {
    const { id } = await harness.openai.uploads.create(params);
    await arm();
    const { file } = await harness.openai.uploads.complete(id, {
      part_ids: [await sendPart(harness, id, bytes)],
    });
    return await settled(harness, file?.id ?? "");
  },
  "an upload is completed": async (harness, arm) => {
    const { id, part_ids } = await uploaded(harness);
    const before = await harness.count("tunebase.files");
    await arm();
    const { file } = await harness.openai.uploads.complete(id, { part_ids });
    assertEquals(await harness.count("tunebase.files"), before + 1, "one file");
    return await settled(harness, file?.id ?? "");
  },
  "an upload is cancelled": async (harness, arm) => {
    const { id } = await uploaded(harness);
    await arm();
    const { status } = await harness.openai.uploads.cancel(id);
    return [status, await clean(harness)];
  },
  "a direct upload is created": async (harness, arm) => {
    await arm();
    const { target } = await direct(harness);
    await expire(harness);
    return [typeof target.token, await clean(harness)];
  },
  "a direct upload is completed": async (harness, arm) => {
    const { id, target } = await direct(harness);
    await harness.tunebase.platform.supabase.storage.from("tunebase-datasets").upload(target.object, bytes, {
      upsert: true,
    });
    await arm();
    const file = await harness.openai.post<{ id: string }>(`/files/direct/${id}/complete`);
    // Objects that its token can still write are cleaned up a day later.
    await harness.advanceTime(100_000);
    return await settled(harness, file.id);
  },
};

export const fileScheduler: Record<string, Run> = {
  "parts are concatenated and validated": async (harness, arm) => {
    const id = await waiting(harness);
    await arm();
    await harness.tick();
    return await settled(harness, id);
  },
  "parts in another format are concatenated, validated and converted": async (harness, arm) => {
    const id = await waiting(harness, new TextEncoder().encode(csv));
    await arm();
    await harness.tick();
    return await settled(harness, id, csv);
  },
  "an unreadable file is retried": async (harness, arm) => {
    const { id, part_ids } = await uploaded(harness);
    const bucket = harness.tunebase.platform.supabase.storage.from("tunebase-datasets");
    const object = `parts/${await projectOf(harness, id)}/${uuid(id)}/${uuid(part_ids[0] ?? "")}`;
    const { data } = await bucket.download(object);
    assert(data !== null);
    const { file } = await harness.openai.uploads.complete(id, { part_ids });
    await bucket.remove([object]);
    await arm();
    await harness.tick();
    const { error } = await bucket.upload(object, await data.arrayBuffer(), {
      contentType: "application/octet-stream",
    });
    assertEquals(error, null);
    return await settled(harness, file?.id ?? "");
  },
  "an upload expires": async (harness, arm) => {
    const { id } = await uploaded(harness);
    await expire(harness);
    await arm();
    await harness.tick();
    await done(harness.openai.uploads.cancel(id), 409);
    return await clean(harness);
  },
};

async function projectOf(harness: CrashHarness, id: string): Promise<string> {
  const [row] = await harness.tunebase.sql`select project_id from tunebase_internal.uploads where id = ${
    uuid(id)
  }::uuid`;
  return String(row?.project_id);
}
