/** A job's adapter: its manifest, and the download into a folder. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Schemas, unwrap } from "../../client/mod.ts";
import type { Session } from "../api/session.ts";
import { TransferProgress } from "../terminal/transfer_progress.ts";
import { downloadAll } from "./download.ts";

export type Adapter = Schemas["Adapter"] | Schemas["CheckpointAdapter"];

/** How the adapter was trained, and each file's SHA-256. */
export const manifestName = "manifest.json";

/** The adapter with fresh download URLs; with `checkpoint`, the checkpoint's. */
export async function getAdapter({ api }: Session, id: string, checkpoint?: string): Promise<Adapter> {
  if (checkpoint === undefined) {
    return unwrap(await api.GET("/fine_tuning/jobs/{id}/adapter", { params: { path: { id } } }));
  }
  return unwrap(
    await api.GET("/fine_tuning/jobs/{id}/checkpoints/{checkpoint}/adapter", {
      params: { path: { id, checkpoint } },
    }),
  );
}

/** The manifest. A checkpoint has none, so this is the API's description without the links. */
function manifestOf(adapter: Adapter): Record<string, unknown> {
  if ("manifest" in adapter) return adapter.manifest;
  return { ...adapter, files: adapter.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 })) };
}

/** Downloads and verifies all files, and writes the manifest next to them. */
export async function downloadAdapter(
  session: Session,
  adapter: Adapter,
  folder: string,
  job: string,
  checkpoint?: string,
): ReturnType<typeof downloadAll> {
  const progress = new TransferProgress("downloading", adapter.total_bytes);
  const files = await downloadAll(
    folder,
    adapter.files,
    async () => (await getAdapter(session, job, checkpoint)).files,
    (bytes) => progress.update(bytes),
  ).finally(() => progress.end());
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, manifestName), `${JSON.stringify(manifestOf(adapter), null, 2)}\n`);
  return files;
}
