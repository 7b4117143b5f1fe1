/** Runs in a worker thread, because a run replaces globals: fetch, Math.random, console.error. */
import { runSimulation } from "./run.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent<Parameters<typeof runSimulation>[0]>) => void;
  postMessage(message: unknown): void;
};
scope.onmessage = async ({ data }) => {
  try {
    scope.postMessage({ result: await runSimulation(data) });
  } catch (error) {
    scope.postMessage({ broken: error instanceof Error ? error.stack : String(error) });
  }
};
