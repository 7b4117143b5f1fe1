/** Stores the emulated account as JSON on disk, so that it survives restarts. Private, because it has endpoints' environments. */
import { exists, join, writePrivate } from "../../../paths.ts";
import { Account } from "./schemas.ts";

export interface Store {
  account: Account;
  save(): Promise<void>;
}

export async function openStore(home: string): Promise<Store> {
  await Deno.mkdir(home, { recursive: true, mode: 0o700 });
  const path = join(home, "runpod.json");
  const account = await exists(path)
    ? Account.parse(JSON.parse(await Deno.readTextFile(path)))
    : { volumes: [], registries: [], templates: [], endpoints: [], releases: {}, sessions: [] };
  let saving = Promise.resolve();
  return {
    account,
    // One write at a time: they share a temporary file.
    save: () =>
      saving = saving.catch(() => {}).then(() => writePrivate(path, `${JSON.stringify(account, null, 2)}\n`)),
  };
}

/** An id such as RunPod's: 14 letters and digits. */
export function newId(): string {
  const letters = "0123456789abcdefghijklmnopqrstuvwxyz";
  return [...crypto.getRandomValues(new Uint8Array(14))].map((byte) => letters[byte % 36]).join("");
}
