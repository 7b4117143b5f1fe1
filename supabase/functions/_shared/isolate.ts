/**
 * The isolate that this function runs in, as far as the platform tells: `beforeunload` comes shortly before its wall clock
 * is over (and when it is dropped). Retiring is not announced; what must survive it is built not to need to know.
 */
let leaving = false;
addEventListener("beforeunload", () => {
  leaving = true;
});

/** Whether the isolate is about to be ended: nothing new is begun, and streams close. */
export const isShuttingDown = (): boolean => leaving;
