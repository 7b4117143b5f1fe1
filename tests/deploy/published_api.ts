/** Compares HTTP exchanges with a platform's published API description, if a copy is in `.tunebase/openapi/`. */
import { exists, join } from "../../local/paths.ts";
import { root } from "../../local/state_dir.ts";
import type { Exchange } from "./runpod_account.ts";

const python = join(root, "trainer/.venv/bin/python");
const description = (name: string) => join(root, ".tunebase/openapi", name);

/** Whether the description and its validator are on this machine. */
export const hasDescription = async (name: string): Promise<boolean> =>
  await exists(description(name)) && await exists(python);

/** Violations of the description: accepted requests and responses must match it, and rejected requests must not. */
export async function checkExchanges(name: string, exchanges: Exchange[]): Promise<string[]> {
  const child = new Deno.Command(python, {
    args: [join(root, "tests/deploy/check_openapi.py"), description(name)],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(exchanges)));
  await writer.close();
  const { stdout } = await child.output();
  return JSON.parse(new TextDecoder().decode(stdout));
}
