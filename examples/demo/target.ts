/** The server the demo uses: from the environment, a running local stack, or a stack of its own. */
import { type Account, ensureAccount, signInLink } from "../../local/stack/account.ts";
import { homeDirectory } from "../../local/state_dir.ts";
import { loadKeys } from "../../local/stack/keys.ts";
import { runningStack } from "../../local/stack/processes.ts";
import { startStack } from "../../local/stack/mod.ts";

export interface Target extends Pick<Account, "baseUrl" | "apiKey"> {
  /** Creates a link that opens the dashboard signed in; null for a remote server. */
  dashboard: (() => Promise<string>) | null;
  stop(): Promise<void>;
}

const nothingToStop = { stop: async () => {} };

/** Finds or starts the server. Throws an Error when only one of the two environment variables is set. */
export async function findTarget(log: (line: string) => void): Promise<Target> {
  const baseUrl = Deno.env.get("TUNEBASE_BASE_URL");
  const apiKey = Deno.env.get("TUNEBASE_API_KEY");
  if (baseUrl && apiKey) return { baseUrl, apiKey, dashboard: null, ...nothingToStop };
  if (baseUrl || apiKey) {
    throw new Error("Set both TUNEBASE_BASE_URL and TUNEBASE_API_KEY, or neither.");
  }
  const home = homeDirectory();
  const running = await runningStack(home);
  if (running !== null) {
    const keys = await loadKeys(home);
    const { account } = keys;
    if (account === undefined) {
      throw new Error("The local stack is still starting. Try again shortly.");
    }
    log(`using the running local stack (pid ${running.pid}, ${running.url})`);
    return {
      baseUrl: `${running.url}/functions/v1/tunebase`,
      apiKey: account.apiKey,
      dashboard: () => signInLink({ url: running.url, keys }, account.email),
      ...nothingToStop,
    };
  }
  const stack = await startStack({ home, log });
  try {
    const account = await ensureAccount(stack);
    log("created a user, a project and an API key");
    return { ...account, dashboard: () => signInLink(stack, account.email), stop: stack.stop };
  } catch (error) {
    await stack.stop();
    throw error;
  }
}
