/**
 * The platform sends `beforeunload` shortly before it ends an isolate. It does not announce that an isolate has retired
 * (takes no new requests), so nothing may depend on that.
 */
let shuttingDown = false;
addEventListener("beforeunload", () => {
  shuttingDown = true;
});

/** Whether the isolate is about to end: start no new work, and close streams. */
export const isShuttingDown = (): boolean => shuttingDown;
