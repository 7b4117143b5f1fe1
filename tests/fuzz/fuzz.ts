/**
 * Schemathesis over the OpenAPI document: to every operation it sends what the document allows and what it does not, and
 * compares the answers with it (all of its checks; `hooks.py` says which rejections are correct).
 */
import { SignJWT } from "jose";
import * as z from "zod";
import { cache, root } from "../../local/state_dir.ts";
import { fromFileUrl, join } from "../../local/paths.ts";
import { createOneOfEverything } from "../support/fixtures.ts";
import { startTunebase } from "../support/test_server.ts";

/** Names a path parameter by its segment: the `{id}` in `/files/{id}` is a file's. */
function idOf(path: string, name: string, things: Record<string, string>): string | undefined {
  const before = path.split("/").at(path.split("/").indexOf(`{${name}}`) - 1) ?? "";
  return things[before];
}

/** A user's access token that costs a hundredth of an ES256 one to check: this is no test of authentication. */
const legacySecret = "only-for-the-fuzz-test-and-long-enough";
const cheapToken = (url: string, id: string) =>
  new SignJWT({ role: "authenticated", iss: `${url}/auth/v1`, aud: "authenticated", sub: id })
    .setProtectedHeader({ alg: "HS256" }).setExpirationTime("1 day").sign(
      new TextEncoder().encode(legacySecret),
    );

/** What `withoutRepetition` reads of the document. */
const Job = z.looseObject({
  properties: z.looseObject({
    hyperparameters: z.unknown(),
    method: z.looseObject({
      oneOf: z.array(z.looseObject({ properties: z.record(z.string(), z.looseObject({})) })),
    }),
  }),
});

/**
 * Reduces the hyperparameters in `method` to one property each. Their schema is that of a job's top-level hyperparameters,
 * where every boundary is sent; repeating it twice would add a sixth to all requests.
 */
function withoutRepetition(job: unknown): unknown {
  const { properties, ...rest } = Job.parse(job);
  const hyperparameters = {
    type: "object",
    properties: { n_epochs: { type: "integer", minimum: 1, maximum: 20 } },
    additionalProperties: false,
  };
  const oneOf = properties.method.oneOf.map(({ properties, ...rest }) => ({
    ...rest,
    properties: Object.fromEntries(
      Object.entries(properties).map(([name, value]) => [
        name,
        name === "type" ? value : { ...value, properties: { hyperparameters } },
      ]),
    ),
  }));
  return { ...rest, properties: { ...properties, method: { ...properties.method, oneOf } } };
}

/** Runs it; `examples` an operation at most. Returns its output, and whether it found nothing unexpected. */
export async function fuzz(
  options: { examples: number; seed: number; show?: boolean },
): Promise<{ ok: boolean; output: string }> {
  const tunebase = await startTunebase({ TUNEBASE_LEGACY_JWT_SECRET: legacySecret });
  const home = await Deno.makeTempDir({ prefix: "tunebase fuzz " });
  try {
    const user = await tunebase.user();
    const things = await createOneOfEverything(tunebase, user);
    await tunebase.sql`update tunebase.projects set requests_per_minute = 1000000`;
    const document = await (await fetch(`${tunebase.url}/functions/v1/tunebase/openapi.json`)).json();
    // One section for all paths with the same ids: each request compares itself with every section.
    const paths = new Map<string, string[]>();
    for (const path of Object.keys(document.paths)) {
      const parameters = [...path.matchAll(/\{(\w+)\}/g)].flatMap(([, name = ""]) => {
        const id = idOf(path, name, things);
        return id === undefined ? [] : [`"path.${name}" = ${JSON.stringify(id)}`];
      }).join(", ");
      if (parameters !== "") paths.set(parameters, [...paths.get(parameters) ?? [], path]);
    }
    const ids = [...paths].map(([parameters, paths]) =>
      `[[operations]]\ninclude-path = ${JSON.stringify(paths)}\nparameters = { ${parameters} }\n`
    );
    // Its body is that of a job, whose boundaries one route shows.
    const estimates =
      '[[operations]]\ninclude-path = "/fine_tuning/estimates"\nphases.coverage.enabled = false\n';
    const config = join(home, "schemathesis.toml");
    await Deno.writeTextFile(config, [...ids, estimates].join("\n"));
    if (!options.show) {
      const { content } = document.paths["/fine_tuning/jobs"].post.requestBody;
      content["application/json"].schema = withoutRepetition(content["application/json"].schema);
    }
    const schema = join(home, "openapi.json");
    await Deno.writeTextFile(schema, JSON.stringify(document));
    const child = new Deno.Command(join(root, "trainer/.venv/bin/st"), {
      args: [
        `--config-file=${config}`,
        "run",
        schema,
        `--url=${tunebase.url}/functions/v1/tunebase`,
        `--header=Authorization: Bearer ${await cheapToken(tunebase.url, user.id)}`,
        `--header=OpenAI-Project: ${things.projects}`,
        "--checks=all",
        // hooks.py has a stricter check.
        "--exclude-checks=positive_data_acceptance",
        `--max-examples=${options.examples}`,
        `--seed=${options.seed}`,
        "--generation-database=none",
        "--continue-on-failure",
      ],
      cwd: home,
      // It searches all variables for a proxy before each request.
      clearEnv: true,
      env: {
        HOME: home,
        LANG: "C.UTF-8",
        NO_COLOR: "1",
        COLUMNS: "120",
        SCHEMATHESIS_HOOKS: "hooks",
        PYTHONPATH: fromFileUrl(new URL(".", import.meta.url)),
        PYTHONDONTWRITEBYTECODE: "1",
        // Keeps Hypothesis's Unicode table, which takes three seconds to build.
        HYPOTHESIS_STORAGE_DIRECTORY: join(cache, "hypothesis"),
        ...(options.show ? {} : { TUNEBASE_FUZZ_SHORT: "1" }),
      },
      stdin: "null",
      // A hidden run must end by itself.
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
