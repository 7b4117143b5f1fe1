/** The edge functions: whether they respond, with which version, and the clocks and keys that their tokens depend on. */
import * as z from "zod";
import { type Check, type CheckGroup, deployCommand, failed, ok, warning } from "../check.ts";
import { type Installation, projectUrl, type Release } from "../installation.ts";

/** A path of each function. Any response from the function counts, including an error. */
const paths = {
  "tunebase": "/tunebase/health",
  "tunebase-callback": "/tunebase-callback/health",
  "tunebase-scheduler": "/tunebase-scheduler/tick",
} as const;
const slugs = ["tunebase", "tunebase-callback", "tunebase-scheduler"] as const;
type Slug = typeof slugs[number];

/** Signatures are rejected when they are five minutes off. */
const maxClockSkewSeconds = 30;
const timeoutMs = 30_000;

const Health = z.object({ status: z.string(), database: z.string(), storage: z.string() });
const KeySet = z.object({ keys: z.array(z.object({ alg: z.string().optional() })) });

export const functionChecks: CheckGroup = {
  id: "functions",
  async run(installation, release) {
    const url = projectUrl(installation);
    const [deployed, keys, ...responses] = await Promise.all([
      installation.supabase.functions(),
      checkKeys(installation, url),
      ...slugs.map((slug) => checkFunction(slug, url, release)),
    ]);
    return [
      ...responses.flat(),
      ...slugs.flatMap((slug) => checkDeployment(slug, installation, deployed)),
      keys,
    ];
  },
};

async function checkFunction(slug: Slug, url: string, release: Release): Promise<Check[]> {
  const id = `function-${slug}`;
  const startedAt = Date.now();
  let response: Response;
  try {
    response = await fetch(`${url}/functions/v1${paths[slug]}`, { signal: AbortSignal.timeout(timeoutMs) });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return [
      failed(
        id,
        `no response: ${reason}`,
        "Check your network, and that the Supabase project is not paused.",
      ),
    ];
  }
  const endedAt = Date.now();
  const text = await response.text();
  const version = response.headers.get("x-tunebase-version");
  if (version === null) return [notOurs(id, slug, response.status)];
  const found = `version ${version}, ${endedAt - startedAt} ms`;
  const checks = [
    version === release.version
      ? ok(id, found)
      : warning(id, `${found}; this is Tunebase ${release.version}`, `Upgrade: ${deployCommand}`),
  ];
  if (slug === "tunebase") {
    checks.push(checkHealth(text), checkClock(response, (startedAt + endedAt) / 2));
  }
  return checks;
}

/** A response without our header comes from the platform. */
function notOurs(id: string, slug: Slug, status: number): Check {
  switch (status) {
    case 401:
      return failed(
        id,
        "the platform rejects requests without one of its own tokens (verify_jwt is on)",
        `Deploy it again, which turns the check off: ${deployCommand}`,
      );
    case 404:
      return failed(id, "not deployed", `Deploy it: ${deployCommand}`);
    default:
      return failed(
        id,
        `the platform responds with ${status}; the function does not start`,
        `Read the log of ${slug} in the Supabase dashboard (Edge Functions). A missing secret is the usual cause.`,
      );
  }
}

function checkHealth(text: string): Check {
  const health = Health.safeParse(parse(text));
  if (!health.success) {
    return failed("health", "GET /health returns no health report", `Deploy the functions: ${deployCommand}`);
  }
  const { status, database, storage } = health.data;
  return status === "ok" ? ok("health", "the API reaches its database and Storage") : failed(
    "health",
    `the API's database is ${database} and its Storage is ${storage}`,
    database === "ok"
      ? "Check that Storage is running and that the bucket tunebase-adapters exists."
      : `Check the secret TUNEBASE_API_DB_URL and the role's password; to set both again: ${deployCommand}`,
  );
}

function checkClock(response: Response, localMs: number): Check {
  const date = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(date)) return ok("clock", "not checked: the server sent no date");
  // The header has whole seconds.
  const seconds = Math.round((localMs - date) / 1000);
  return Math.abs(seconds) <= maxClockSkewSeconds
    ? ok("clock", `within ${Math.max(1, Math.abs(seconds))} s of the server's clock`)
    : warning(
      "clock",
      `this machine is ${Math.abs(seconds)} s ${seconds > 0 ? "ahead of" : "behind"} the server's clock`,
      "Synchronize this machine's clock (NTP): signatures and tokens depend on it.",
    );
}

function checkDeployment(
  slug: Slug,
  { state }: Installation,
  deployed: { slug: string; status: string; version: number }[],
): Check[] {
  const found = deployed.find((one) => one.slug === slug);
  const known = state.functions[slug];
  if (found === undefined || known === undefined || found.version === known.version) return [];
  return [
    warning(
      `deployment-${slug}`,
      `deployment ${found.version} is not from this profile, which deployed ${known.version}`,
      `If that was not intended, deploy again: ${deployCommand}`,
    ),
  ];
}

async function checkKeys({ supabase }: Installation, url: string): Promise<Check> {
  const response = await fetch(`${url}/auth/v1/.well-known/jwks.json`, {
    signal: AbortSignal.timeout(timeoutMs),
  });
  const body = KeySet.safeParse(parse(await response.text()));
  const fix = "Check that Auth is running and that the Supabase project is not paused.";
  if (!response.ok || !body.success) {
    return failed("jwks", `Auth responds with ${response.status} and no key set`, fix);
  }
  const algorithms = body.data.keys.map(({ alg }) => alg ?? "unknown");
  if (algorithms.includes("ES256")) return ok("jwks", "users' tokens are signed with ES256");
  return (await supabase.secretDigests()).has("TUNEBASE_LEGACY_JWT_SECRET")
    ? ok("jwks", "users' tokens are signed with the legacy secret, which the functions have")
    : failed(
      "jwks",
      "the project signs tokens with its legacy secret: users cannot sign in to the API",
      "Migrate to ES256 in the Supabase dashboard (Project settings, JWT keys), or set the secret TUNEBASE_LEGACY_JWT_SECRET.",
    );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
