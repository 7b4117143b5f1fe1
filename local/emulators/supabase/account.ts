/** The emulated account: one organization, its plan, and access tokens. In `account.json` of the emulator's home. */
import * as z from "zod";
import { exists, join, writePrivate } from "../../paths.ts";

const Account = z.object({
  organization: z.object({
    id: z.string(),
    slug: z.string(),
    name: z.string(),
    /** The free plan allows two active projects and files of up to 50 MB. */
    plan: z.enum(["free", "pro"]),
  }),
  /** Full access. */
  token: z.string(),
  /** Read-only. */
  readOnlyToken: z.string(),
  /** Belongs to an account outside the organization. */
  strangerToken: z.string(),
});
export type Account = z.infer<typeof Account>;

/** Reads the account, or creates it. */
export async function loadAccount(home: string): Promise<Account> {
  const path = join(home, "account.json");
  if (await exists(path)) return Account.parse(JSON.parse(await Deno.readTextFile(path)));
  const slug = lowerCaseText(20);
  const account: Account = {
    organization: { id: slug, slug, name: "Emulated organization", plan: "free" },
    token: `sbp_${randomHex(20)}`,
    readOnlyToken: `sbp_${randomHex(20)}`,
    strangerToken: `sbp_${randomHex(20)}`,
  };
  await Deno.mkdir(home, { recursive: true, mode: 0o700 });
  await saveAccount(home, account);
  return account;
}

export async function saveAccount(home: string, account: Account): Promise<void> {
  await writePrivate(join(home, "account.json"), `${JSON.stringify(account, null, 2)}\n`);
}

/** Random lower-case letters, as in a project's ref. */
export function lowerCaseText(length: number): string {
  return Array.from(
    crypto.getRandomValues(new Uint8Array(length)),
    (byte) => String.fromCharCode(97 + byte % 26),
  )
    .join("");
}

function randomHex(bytes: number): string {
  return Array.from(
    crypto.getRandomValues(new Uint8Array(bytes)),
    (byte) => byte.toString(16).padStart(2, "0"),
  )
    .join("");
}
