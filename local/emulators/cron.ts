/**
 * Emulates the timer of pg_cron and pg_net: calls the scheduler every few seconds. Differs: waits for a slow tick, where
 * pg_cron would start another in parallel.
 */
import { pause } from "../stack/processes.ts";

export interface Cron {
  /** Calls the scheduler once, now. */
  tick(): Promise<void>;
  stop(): Promise<void>;
}

/** Calls `url` with the scheduler's secret every `seconds`. Failures are logged and do not stop the timer. */
export function startCron(url: string, secret: string, seconds: number, log: (line: string) => void): Cron {
  const stopping = new AbortController();
  let running: Promise<void> | null = null;
  const call = async () => {
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { authorization: `Bearer ${secret}` },
        signal: AbortSignal.any([stopping.signal, AbortSignal.timeout(120_000)]),
      });
      const text = await response.text();
      if (!response.ok) log(`cron: ${response.status} ${text.slice(0, 300)}`);
    } catch (error) {
      if (!stopping.signal.aborted) log(`cron: ${error}`);
    }
  };
  const tick = () => running ??= call().finally(() => running = null);
  const loop = (async () => {
    while (!stopping.signal.aborted) {
      await tick();
      for (let waited = 0; waited < seconds * 10 && !stopping.signal.aborted; waited++) await pause(100);
    }
  })();
  return {
    tick,
    stop: async () => {
      stopping.abort();
      await loop;
    },
  };
}
