/** The project's version: `version` in deno.json. `task types` writes it to everything published. */
import { root } from "../state_dir.ts";
import { join } from "../paths.ts";

const read = (path: string) => Deno.readTextFile(join(root, path));

export async function projectVersion(): Promise<string> {
  const { version } = JSON.parse(await read("deno.json"));
  if (typeof version !== "string" || !/^\d+\.\d+\.\d+$/.test(version)) {
    throw new Error(`deno.json: version must be MAJOR.MINOR.PATCH, not ${JSON.stringify(version)}`);
  }
  return version;
}

/** The npm package, the edge functions and the trainer with the new version. The OpenAPI document gets it as an argument. */
export async function withVersion(version: string): Promise<{ path: string; text: string }[]> {
  return [
    await replaced("cli/npm/package.json", /(?<=^ {2}"version": ")[^"]*(?=",$)/m, version),
    await replaced(
      "supabase/functions/_shared/version.ts",
      /(?<=^export const version = ")[^"]*(?=";$)/m,
      version,
    ),
    await replaced("trainer/tunebase_trainer/__init__.py", /(?<=^__version__ = ")[^"]*(?="$)/m, version),
  ];
}

async function replaced(path: string, place: RegExp, version: string) {
  const text = await read(path);
  if (!place.test(text)) throw new Error(`${path} has no place for the version`);
  return { path, text: text.replace(place, version) };
}
