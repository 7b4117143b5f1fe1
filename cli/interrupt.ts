/** Ctrl-C, where it means more than "end now". */
import process from "node:process";

/**
 * Runs `work` with a signal that comes at Ctrl-C (or a TERM) instead of the program's end. A second Ctrl-C ends it the
 * hard way.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stopping = new AbortController();
  const stop = () => {
    if (stopping.signal.aborted) process.exit(130);
    stopping.abort();
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  try {
    return await work(stopping.signal);
  } finally {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  }
}
