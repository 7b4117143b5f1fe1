/** Graceful handling of Ctrl-C. */
import process from "node:process";

/**
 * Runs `work` with a signal that aborts on Ctrl-C (SIGINT or SIGTERM) instead of ending the process. A second Ctrl-C
 * exits at once.
 */
export async function withAbortOnSigint<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const abort = () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  };
  process.on("SIGINT", abort);
  process.on("SIGTERM", abort);
  try {
    return await work(controller.signal);
  } finally {
    process.off("SIGINT", abort);
    process.off("SIGTERM", abort);
  }
}
