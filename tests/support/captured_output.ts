/** Captures what a command that runs in this process prints. */
import process from "node:process";

/** Runs it; returns what it wrote to stdout and stderr. One at a time in a process. */
export async function captureOutput(run: () => Promise<unknown>): Promise<{ out: string; err: string }> {
  const printed = { out: "", err: "" };
  const capture = (into: "out" | "err") => {
    const decoder = new TextDecoder();
    return (chunk: string | Uint8Array, ...rest: unknown[]) => {
      printed[into] += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
      const written = rest.at(-1);
      if (typeof written === "function") written();
      return true;
    };
  };
  const [stdout, stderr] = [process.stdout.write, process.stderr.write];
  Object.assign(process.stdout, { write: capture("out") });
  Object.assign(process.stderr, { write: capture("err") });
  try {
    await run();
  } finally {
    Object.assign(process.stdout, { write: stdout });
    Object.assign(process.stderr, { write: stderr });
  }
  return printed;
}
