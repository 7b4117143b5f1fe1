/**
 * The platform's limits for an edge function, as the embedded stack enforces them.
 *
 * Emulated, following the platform's documentation and the supervisor of its open-source runtime
 * (supabase/edge-runtime, policy per_worker):
 *
 * - **CPU.** One meter for the isolate's whole life, not one for each request: an isolate serves many requests, and the
 *   documented "2 s per request" is the worst case, a request to a new isolate. At the soft limit the isolate retires: it
 *   accepts no new requests and finishes its current ones, including `EdgeRuntime.waitUntil` work. At the hard limit it
 *   is killed, including its event streams.
 * - **Wall clock.** An isolate retires after half of it and is killed after all of it; `beforeunload` is dispatched
 *   shortly before.
 * - **Memory.** Above the limit it is killed.
 * - **First byte.** A request without one after 150 s gets a 504. The function does not notice.
 *
 * Different: the isolate is a plain Deno process. Its CPU is that of the process (user and system, including V8's helper
 * threads; the platform meters the isolate's thread), in kernel ticks of 10 ms, counted from its first answer, because
 * starting `deno run` costs more than starting an isolate. It is polled every 50 ms, so it can exceed a limit by as much.
 * Its memory is what it uses beyond an idle Deno process. The soft limit is an assumption, because the platform does not publish
 * its own.
 */
export interface IsolateLimits {
  /** CPU after which an isolate retires, in milliseconds. */
  softCpuMs: number;
  /** CPU after which it is killed, in milliseconds. */
  hardCpuMs: number;
  memoryMb: number;
  /** The maximum lifetime of an isolate, in milliseconds; it retires after half. 150 s on the free plan, 400 s on paid plans. */
  wallMs: number;
  /** The maximum time to the first byte of a response, in milliseconds. */
  firstByteMs: number;
}

/** The limits of the free plan, the strictest. */
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
