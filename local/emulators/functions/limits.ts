/**
 * The limits under which the platform runs an edge function, as the embedded stack enforces them.
 *
 * What is imitated, after the platform's documentation and the supervisor of its open-source runtime
 * (supabase/edge-runtime, policy per_worker):
 *
 * - **CPU.** One meter for the isolate's whole life, not one for each request: an isolate serves many requests, and the
 *   documented "2 s per request" is the worst case of a request that meets a fresh isolate. At the soft limit the isolate
 *   retires: it takes no new requests and finishes those it has, their `EdgeRuntime.waitUntil` work included. At the hard
 *   limit it is killed with everything it was doing, event streams included.
 * - **Wall clock.** An isolate retires after half of it and is killed after all of it; `beforeunload` is dispatched
 *   shortly before.
 * - **Memory.** Past the limit it is killed.
 * - **First byte.** A request without one after 150 s is answered 504. The function is not told.
 *
 * What is not: the isolate is a process of plain Deno. Its CPU is that of the process (user and system, the helper
 * threads of V8 included; the platform meters the isolate's thread), in the kernel's ticks of 10 ms, counted from its
 * first answer on, since starting `deno run` costs more than starting an isolate. It is looked at every 50 ms, so it may
 * pass a limit by as much. Its memory is what it holds beyond an empty Deno process. The soft limit is our choice: the
 * platform does not publish its own.
 */
export interface IsolateLimits {
  /** CPU after which an isolate retires, in milliseconds. */
  softCpuMs: number;
  /** CPU after which it is killed, in milliseconds. */
  hardCpuMs: number;
  memoryMb: number;
  /** How long an isolate lives at most, in milliseconds; it retires after half. 150 s free, 400 s on paid plans. */
  wallMs: number;
  /** How long a request may go without the first byte of its answer, in milliseconds. */
  firstByteMs: number;
}

/** The free plan's, which are the tightest. */
export const platformLimits: IsolateLimits = {
  softCpuMs: 1000,
  hardCpuMs: 2000,
  memoryMb: 256,
  wallMs: 150_000,
  firstByteMs: 150_000,
};

/** `TUNEBASE_FUNCTION_LIMITS`: `on` unless set; `off` gives null. Throws an Error that names the setting. */
export function limitsSetting(text = Deno.env.get("TUNEBASE_FUNCTION_LIMITS")): IsolateLimits | null {
  switch (text || "on") {
    case "on":
      return platformLimits;
    case "off":
      return null;
    default:
      throw new Error(`TUNEBASE_FUNCTION_LIMITS=${text} must be on or off.`);
  }
}
