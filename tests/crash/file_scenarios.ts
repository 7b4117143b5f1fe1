/** What concerns files that do not come in one request: uploads in parts, direct uploads, and their checks. */
import { assert, assertEquals } from "#assert";
import { maxInRequestBytes } from "../../supabase/functions/tunebase/incoming_file.ts";
import type { Lane } from "./harness.ts";
import { done, type Run } from "./scenario.ts";

const row = '{"prompt": "a", "completion": "b"}\n';
const bytes = new TextEncoder().encode(row.repeat(20));
const params = {
  bytes: bytes.length,
  filename: "rows.jsonl",
  mime_type: "application/jsonl",
  purpose: "fine-tune" as const,
};
const uuid = (id: string) =>
  id.replace(/^[a-z]+[-_]/, "").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
const sendPart = async (lane: Lane, id: string, data: Uint8Array<ArrayBuffer>) =>
  (await lane.openai.uploads.parts.create(id, { data: new File([data], "part") })).id;

/** The same rows as a table, which is converted. */
const csv = `prompt,completion\n${"a,b\n".repeat(100)}`;

/** An upload whose bytes have come in two parts. */
async function uploaded(lane: Lane, data = bytes): Promise<{ id: string; part_ids: string[] }> {
  const { id } = await lane.openai.uploads.create({ ...params, bytes: data.length });
  const part_ids = [
    await sendPart(lane, id, data.slice(0, 100)),
    await sendPart(lane, id, data.slice(100)),
  ];
  return { id, part_ids };
}

/** A file that waits for its check. */
async function waiting(lane: Lane, data = bytes): Promise<string> {
  const { id, part_ids } = await uploaded(lane, data);
  const { file } = await lane.openai.uploads.complete(id, { part_ids });
  return file?.id ?? "";
}

type Direct = { id: string; target: { object: string; token: string } };
const direct = (lane: Lane): Promise<Direct> =>
  lane.openai.post("/files/direct", {
    body: { filename: "a.jsonl", bytes: bytes.length, purpose: "fine-tune" },
  });

/** Lets the timer come and time pass until the file is checked; returns what it is then, and that its bytes are whole. */
async function settled(lane: Lane, id: string, content = row.repeat(20)): Promise<unknown> {
  // A tick validates as much as its CPU budget allows: two copies of a large file take several.
  for (let round = 0; round < 20; round++) {
    const { status } = await lane.openai.files.retrieve(id);
    if (status !== "uploaded") {
      const whole = status === "processed" &&
        await (await lane.openai.files.content(id)).text() === content;
      return [status, whole, await clean(lane)];
    }
    await later(lane);
  }
  throw new Error("the file is never checked");
}

/** Lets every lease and everything that waits to be removed come to its time; returns how many parts are left over. */
async function clean(lane: Lane): Promise<number> {
  for (let round = 0; round < 2; round++) {
    await lane.elapse(4000);
    await later(lane);
  }
  return await lane.count(
    `storage.objects o where bucket_id = 'tunebase-datasets' and (name like 'parts/%' or name like 'incoming/%')
      and not exists (select from tunebase.files f where o.name in (f.object, f.original_object))`,
  );
}

async function later(lane: Lane): Promise<void> {
  await lane.tunebase.sql`update tunebase_internal.file_validations set next_at = now()`;
  await lane.tick();
}

const expire = (lane: Lane) =>
  lane.tunebase.sql`update tunebase_internal.uploads set expires_at = now() where status = 'pending'`;

export const fileApi: Record<string, Run> = {
  "a file in another format is created": async (lane, doom) => {
    // An equal file's objects would be shared.
    const fresh = `${csv}${crypto.randomUUID()},b\n`;
    await doom();
    const { id } = await lane.openai.files.create({
      file: new File([fresh], "rows.csv"),
      purpose: "fine-tune",
    });
    return await settled(lane, id, fresh);
  },
  "a file too large to validate in its request is created": async (lane, doom) => {
    const content = row.repeat(Math.ceil(maxInRequestBytes / row.length) + 1);
    await doom();
    const { id } = await lane.openai.files.create({
      file: new File([content], "large.jsonl"),
      purpose: "fine-tune",
    });
    return await settled(lane, id, content);
  },
  "an upload is begun": async (lane, doom) => {
    await doom();
    const { status } = await lane.openai.uploads.create(params);
    await expire(lane);
    return [status, await clean(lane)];
  },
  "a part is added": async (lane, doom) => {
    const { id } = await lane.openai.uploads.create(params);
    await doom();
    const { file } = await lane.openai.uploads.complete(id, { part_ids: [await sendPart(lane, id, bytes)] });
    return await settled(lane, file?.id ?? "");
  },
  "an upload is completed": async (lane, doom) => {
    const { id, part_ids } = await uploaded(lane);
    const before = await lane.count("tunebase.files");
    await doom();
    const { file } = await lane.openai.uploads.complete(id, { part_ids });
    assertEquals(await lane.count("tunebase.files"), before + 1, "one file");
    return await settled(lane, file?.id ?? "");
  },
  "an upload is cancelled": async (lane, doom) => {
    const { id } = await uploaded(lane);
    await doom();
    const { status } = await lane.openai.uploads.cancel(id);
    return [status, await clean(lane)];
  },
  "a direct upload is begun": async (lane, doom) => {
    await doom();
    const { target } = await direct(lane);
    await expire(lane);
    return [typeof target.token, await clean(lane)];
  },
  "a direct upload is completed": async (lane, doom) => {
    const { id, target } = await direct(lane);
    await lane.tunebase.platform.supabase.storage.from("tunebase-datasets").upload(target.object, bytes, {
      upsert: true,
    });
    await doom();
    const file = await lane.openai.post<{ id: string }>(`/files/direct/${id}/complete`);
    // What its token could still write is looked for a day later.
    await lane.elapse(100_000);
    return await settled(lane, file.id);
  },
};

export const fileScheduler: Record<string, Run> = {
  "parts are joined and checked": async (lane, doom) => {
    const id = await waiting(lane);
    await doom();
    await lane.tick();
    return await settled(lane, id);
  },
  "parts in another format are joined, checked and converted": async (lane, doom) => {
    const id = await waiting(lane, new TextEncoder().encode(csv));
    await doom();
    await lane.tick();
    return await settled(lane, id, csv);
  },
  "a file cannot be read and is tried again": async (lane, doom) => {
    const { id, part_ids } = await uploaded(lane);
    const bucket = lane.tunebase.platform.supabase.storage.from("tunebase-datasets");
    const object = `parts/${await projectOf(lane, id)}/${uuid(id)}/${uuid(part_ids[0] ?? "")}`;
    const { data } = await bucket.download(object);
    assert(data !== null);
    const { file } = await lane.openai.uploads.complete(id, { part_ids });
    await bucket.remove([object]);
    await doom();
    await lane.tick();
    const { error } = await bucket.upload(object, await data.arrayBuffer(), {
      contentType: "application/octet-stream",
    });
    assertEquals(error, null);
    return await settled(lane, file?.id ?? "");
  },
  "an upload is past its time": async (lane, doom) => {
    const { id } = await uploaded(lane);
    await expire(lane);
    await doom();
    await lane.tick();
    await done(lane.openai.uploads.cancel(id), 409);
    return await clean(lane);
  },
};

async function projectOf(lane: Lane, id: string): Promise<string> {
  const [row] = await lane.tunebase.sql`select project_id from tunebase_internal.uploads where id = ${
    uuid(id)
  }::uuid`;
  return String(row?.project_id);
}
