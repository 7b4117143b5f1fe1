/** Downloads an adapter over signed URLs and verifies every file against the manifest. */
import { createHash } from "node:crypto";
import { dirname, join, resolve } from "node:path";
import * as z from "zod";

export const Adapter = z.object({
  base_model: z.string(),
  base_source: z.string(),
  base_revision: z.string().nullable(),
  total_bytes: z.number(),
  manifest: z.object({ versions: z.record(z.string(), z.string()) }),
  files: z.array(z.object({ path: z.string(), bytes: z.number(), sha256: z.string(), url: z.url() })).min(1),
});
export type Adapter = z.infer<typeof Adapter>;

/** Writes the files into `directory`. Throws an Error that names a file that does not match the manifest. */
export async function downloadAdapter(adapter: Adapter, directory: string): Promise<void> {
  for (const file of adapter.files) {
    const target = join(directory, file.path);
    // The path comes from a server: it must not escape the directory.
    if (!resolve(target).startsWith(resolve(directory) + "/")) {
      throw new Error(`The server sent a path outside the target directory: ${file.path}`);
    }
    await Deno.mkdir(dirname(target), { recursive: true });
    const response = await fetch(file.url);
    if (!response.ok || response.body === null) {
      throw new Error(`Could not download ${file.path}: ${response.status} ${await response.text()}`);
    }
    const hash = createHash("sha256");
    let bytes = 0;
    using output = await Deno.open(target, { write: true, create: true, truncate: true });
    for await (const chunk of response.body) {
      hash.update(chunk);
      bytes += chunk.length;
      for (let written = 0; written < chunk.length;) written += await output.write(chunk.subarray(written));
    }
    const sha256 = hash.digest("hex");
    if (bytes !== file.bytes || sha256 !== file.sha256) {
      throw new Error(
        `${file.path} is damaged: got ${bytes} bytes with SHA-256 ${sha256}, expected ${file.bytes} bytes with ${file.sha256}.`,
      );
    }
  }
}
