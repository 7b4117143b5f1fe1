/** Walks in a thread of its own: what a walk replaces (fetch, Math.random, console.error) is global. */
import { walk } from "./run.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent<Parameters<typeof walk>[0]>) => void;
  postMessage(message: unknown): void;
};
scope.onmessage = async ({ data }) => {
  try {
    scope.postMessage({ walked: await walk(data) });
  } catch (error) {
    scope.postMessage({ broken: error instanceof Error ? error.stack : String(error) });
  }
};
