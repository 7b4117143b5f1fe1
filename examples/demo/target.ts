/** The Tunebase that the demo talks to: one that the environment names, a stack that runs, or one of its own. */
import { type Account, ensureAccount, signInLink } from "../../local/stack/account.ts";
import { homeDirectory } from "../../local/state_dir.ts";
import { loadKeys } from "../../local/stack/keys.ts";
import { runningStack } from "../../local/stack/processes.ts";
import { startStack } from "../../local/stack/mod.ts";

export interface Target extends Pick<Account, "baseUrl" | "apiKey"> {
  /** A link that opens the dashboard, signed in; null where its account is not ours. */
  dashboard: (() => Promise<string>) | null;
  stop(): Promise<void>;
}

const nothing = { stop: async () => {} };

/** Finds or starts it. Throws an Error when only one of the two settings is there. */
export async function findTarget(log: (line: string) => void): Promise<Target> {
  const baseUrl = Deno.env.get("TUNEBASE_BASE_URL");
  const apiKey = Deno.env.get("TUNEBASE_API_KEY");
  if (baseUrl && apiKey) return { baseUrl, apiKey, dashboard: null, ...nothing };
  if (baseUrl || apiKey) {
    throw new Error("TUNEBASE_BASE_URL and TUNEBASE_API_KEY go together: set both, or neither.");
  }
  const home = homeDirectory();
  const running = await runningStack(home);
  if (running !== null) {
    const keys = await loadKeys(home);
    const { account } = keys;
    if (account === undefined) {
      throw new Error("The stack that runs here is still starting. Try again in a moment.");
    }
    log(`using the stack that runs here (pid ${running.pid}, ${running.url})`);
    return {
      baseUrl: `${running.url}/functions/v1/tunebase`,
      apiKey: account.apiKey,
      dashboard: () => signInLink({ url: running.url, keys }, account.email),
      ...nothing,
    };
  }
  const stack = await startStack({ home, log });
  try {
    const account = await ensureAccount(stack);
    log("made a user, their project and an API key");
    return { ...account, dashboard: () => signInLink(stack, account.email), stop: stack.stop };
  } catch (error) {
    await stack.stop();
    throw error;
  }
}
