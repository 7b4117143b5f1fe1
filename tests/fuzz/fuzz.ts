/**
 * Schemathesis over the OpenAPI document: to every operation it sends what the document allows and what it does not, and
 * compares the answers with it (all of its checks; `hooks.py` says which refusals are right).
 */
import { root } from "../../local/state_dir.ts";
import { fromFileUrl, join } from "../../local/paths.ts";
import { createOneOfEverything } from "../support/fixtures.ts";
import { startTunebase } from "../support/test_server.ts";

/** The parameter of a path by its place: `/files/{id}` is a file's. */
function idOf(path: string, name: string, things: Record<string, string>): string | undefined {
  const before = path.split("/").at(path.split("/").indexOf(`{${name}}`) - 1) ?? "";
  return things[before];
}

/** Runs it; `examples` an operation at most. Returns what it printed, and whether nothing unexpected came up. */
export async function fuzz(
  options: { examples: number; seed: number; show?: boolean },
): Promise<{ ok: boolean; output: string }> {
  const tunebase = await startTunebase();
  const home = await Deno.makeTempDir({ prefix: "tunebase fuzz " });
  try {
    const user = await tunebase.user();
    const things = await createOneOfEverything(tunebase, user);
    await tunebase.sql`update tunebase.projects set requests_per_minute = 1000000`;
    const document = await (await fetch(`${tunebase.url}/functions/v1/tunebase/openapi.json`)).json();
    const ids = Object.keys(document.paths).flatMap((path) => {
      const lines = [...path.matchAll(/\{(\w+)\}/g)].flatMap(([, name = ""]) => {
        const id = idOf(path, name, things);
        return id === undefined ? [] : [`"path.${name}" = ${JSON.stringify(id)}`];
      });
      return lines.length === 0
        ? []
        : [`[[operations]]\ninclude-path = ${JSON.stringify(path)}\nparameters = { ${lines.join(", ")} }\n`];
    });
    // Its body is that of a job, whose thousand boundaries one route shows.
    const estimates =
      '[[operations]]\ninclude-path = "/fine_tuning/estimates"\nphases.coverage.enabled = false\n';
    const config = join(home, "schemathesis.toml");
    await Deno.writeTextFile(config, [...ids, estimates].join("\n"));
    const child = new Deno.Command(join(root, "trainer/.venv/bin/st"), {
      args: [
        `--config-file=${config}`,
        "run",
        `${tunebase.url}/functions/v1/tunebase/openapi.json`,
        `--header=Authorization: Bearer ${user.accessToken}`,
        `--header=OpenAI-Project: ${things.projects}`,
        "--checks=all",
        // hooks.py has a sharper one.
        "--exclude-checks=positive_data_acceptance",
        `--max-examples=${options.examples}`,
        `--seed=${options.seed}`,
        "--continue-on-failure",
      ],
      cwd: home,
      env: {
        NO_COLOR: "1",
        COLUMNS: "120",
        SCHEMATHESIS_HOOKS: "hooks",
        PYTHONPATH: fromFileUrl(new URL(".", import.meta.url)),
        PYTHONDONTWRITEBYTECODE: "1",
      },
      stdin: "null",
      // A run that is not shown has no one to interrupt it.
      ...(options.show ? {} : { signal: AbortSignal.timeout(20 * 60_000) }),
      stdout: options.show ? "inherit" : "piped",
      stderr: options.show ? "inherit" : "piped",
    }).spawn();
    if (options.show) return { ok: (await child.status).success, output: "" };
    const { success, stdout, stderr } = await child.output();
    const text = new TextDecoder();
    return { ok: success, output: text.decode(stdout) + text.decode(stderr) };
  } finally {
    await tunebase.close();
    await Deno.remove(home, { recursive: true });
  }
}
