/** `task cli`: bundles the CLI into one file for Node 20+, `cli/npm/tunebase.js`. */
import { root } from "../local/state_dir.ts";
import { join } from "../local/paths.ts";

/** Writes the bundle and returns its size in bytes. */
export async function buildCli(output: string): Promise<number> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["bundle", "--quiet", "--platform", "deno", "--minify", "-o", output, "cli/main.ts"],
    cwd: root,
    stdin: "null",
  }).output();
  if (!success) {
    throw new Error(`Failed to bundle the CLI:\n${new TextDecoder().decode(stderr)}`);
  }
  // The source's shebang is for Deno.
  const code = (await Deno.readTextFile(output)).replace(/^#!.*\n/, "");
  await Deno.writeTextFile(output, `#!/usr/bin/env node\n${code}`);
  await Deno.chmod(output, 0o755);
  return (await Deno.stat(output)).size;
}

if (import.meta.main) {
  const output = join(root, "cli/npm/tunebase.js");
  const bytes = await buildCli(output);
  console.log(`${output} (${Math.round(bytes / 1000)} kB)`);
}
