/** Wakes the scheduler after a change, instead of waiting for its timer. */
import type { Settings } from "./platform.ts";
import { deriveSecret } from "./secrets.ts";

/** How long a wake-up waits for one that is in flight, which can take as long as its tick. */
const maxWaitMs = 100;

interface Wakes {
  inFlight: Promise<void> | null;
  /** Not sent yet, so its tick sees every change until now. */
  next: Promise<void> | null;
}
const wakes = new WeakMap<Settings, Wakes>();

/**
 * Wakes the scheduler. Changes that arrive while a call of this isolate is in flight share the next one, because each call
 * starts a tick. Resolves when the tick has answered; rejects if it does not.
 */
export function wakeScheduler(settings: Settings): Promise<void> {
  const state = wakes.get(settings) ?? { inFlight: null, next: null };
  wakes.set(settings, state);
  if (state.inFlight === null) return send(settings, state);
  return state.next ??= settled(state.inFlight, maxWaitMs).then(() => {
    state.next = null;
    return send(settings, state);
  });
}

function send(settings: Settings, state: Wakes): Promise<void> {
  const sent = post(settings).finally(() => {
    if (state.inFlight === sent) state.inFlight = null;
  });
  state.inFlight = sent;
  return sent;
}

async function post(settings: Settings): Promise<void> {
  const response = await fetch(`${settings.supabaseUrl}/functions/v1/tunebase-scheduler/tick`, {
    method: "POST",
    headers: { authorization: `Bearer ${deriveSecret(settings.masterKey, "scheduler")}` },
    signal: AbortSignal.timeout(10_000),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`waking the scheduler failed with status ${response.status}`);
}

/** Waits until the work has settled, however it ends, but at most `ms`. */
function settled(work: Promise<void>, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    work.catch(() => {}).finally(() => { // its own caller handles the error
      clearTimeout(timer);
      resolve();
    });
  });
}
