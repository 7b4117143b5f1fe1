/** The functions' secrets, compared by digest, and Storage's limit, which one of them must match. */
import { createHash } from "node:crypto";
import * as z from "zod";
import { buckets } from "../../../supabase/functions/_shared/contracts/buckets.ts";
import { databaseRoles } from "../../database.ts";
import { type Check, type CheckGroup, deployCommand, failed, ok, warning } from "../check.ts";
import type { Installation, SupabaseReader } from "../installation.ts";

const required = ["TUNEBASE_MASTER_KEY", ...Object.values(databaseRoles), "RUNPOD_API_KEY"];
/** The functions' default without TUNEBASE_MAX_FILE_BYTES. */
const defaultMaxFileBytes = 8 * 2 ** 30;

export const secretChecks: CheckGroup = {
  id: "secrets",
  async run(installation) {
    const digests = await installation.supabase.secretDigests();
    return await Promise.all([
      checkSecrets(installation, digests),
      checkStorageLimit(installation.supabase, digests),
      checkBuckets(installation.supabase),
    ]);
  },
};

async function checkSecrets(
  { masterKey, runpodKey }: Installation,
  digests: Map<string, string>,
): Promise<Check> {
  const missing = required.filter((name) => !digests.has(name));
  if (missing.length > 0) {
    return failed("secrets", `missing: ${missing.join(", ")}`, `Set them: ${deployCommand}`);
  }
  const known = { TUNEBASE_MASTER_KEY: await masterKey(), RUNPOD_API_KEY: runpodKey };
  const changed = Object.entries(known).filter(([name, value]) => digests.get(name) !== sha256(value))
    .map(([name]) => name);
  if (changed.includes("TUNEBASE_MASTER_KEY")) {
    return failed(
      "secrets",
      "the functions' TUNEBASE_MASTER_KEY differs from the one in Vault",
      `If the functions' key is the right one, restore it in Vault. To use the one in Vault: ${deployCommand}`,
    );
  }
  return changed.length === 0 ? ok("secrets", `all ${required.length} required ones are set`) : warning(
    "secrets",
    "the functions' RUNPOD_API_KEY differs from this command's",
    `If yours is the current one, set it: ${deployCommand}`,
  );
}

async function checkStorageLimit(supabase: SupabaseReader, digests: Map<string, string>): Promise<Check> {
  const limit = await supabase.fileSizeLimit();
  const digest = digests.get("TUNEBASE_MAX_FILE_BYTES");
  const found = `Storage accepts files of up to ${bytes(limit)}`;
  const fix =
    `Set the secret TUNEBASE_MAX_FILE_BYTES to ${limit}, or raise Storage's limit in the Supabase dashboard (Storage, Settings).`;
  if (digest === undefined) {
    return limit >= defaultMaxFileBytes
      ? ok("storage-limit", found)
      : warning("storage-limit", `${found}, but the API's limit is ${bytes(defaultMaxFileBytes)}`, fix);
  }
  return digest === sha256(`${limit}`)
    ? ok("storage-limit", `${found}, like the API`)
    : warning("storage-limit", `${found}, but TUNEBASE_MAX_FILE_BYTES differs`, fix);
}

async function checkBuckets(supabase: SupabaseReader): Promise<Check> {
  const names = Object.values(buckets);
  const rows = await supabase.query(
    `select id, public from storage.buckets where id in (${names.map((name) => `'${name}'`).join(", ")})`,
    z.array(z.object({ id: z.string(), public: z.boolean() })),
  );
  const missing = names.filter((name) => !rows.some(({ id }) => id === name));
  if (missing.length > 0) {
    return failed("buckets", `missing: ${missing.join(", ")}`, `Apply the migrations: ${deployCommand}`);
  }
  const open = rows.filter((row) => row.public).map(({ id }) => id);
  return open.length === 0 ? ok("buckets", "private") : failed(
    "buckets",
    `public: ${open.join(", ")}`,
    open.map((id) => `update storage.buckets set public = false where id = '${id}';`).join(" "),
  );
}

function bytes(number: number): string {
  const [unit, size] = number >= 2 ** 30 ? ["GiB", 2 ** 30] : ["MiB", 2 ** 20];
  return `${Math.round(number / size * 10) / 10} ${unit}`;
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
