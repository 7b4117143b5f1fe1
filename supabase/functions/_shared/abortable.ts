/** Response bodies that end when their request is aborted. */

/**
 * Wraps a response so that aborting `signal` fails its body and closes the connection. Deno's `fetch` drops the signal once
 * the request's own objects have been garbage-collected, and the body of a long stream then never ends (seen with Deno
 * 2.9.6; tests/inference/abortable_test.ts).
 */
export function abortable(response: Response, signal: AbortSignal): Response {
  if (response.body === null) return response;
  const reader = response.body.getReader();
  let abort = () => {};
  // A leftover listener would keep the signal's timer and this body alive until the timeout, minutes later.
  const settle = () => signal.removeEventListener("abort", abort);
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      abort = () => {
        controller.error(signal.reason);
        reader.cancel(signal.reason).catch(() => {}); // it may have failed with the same reason
      };
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
    },
    async pull(controller) {
      try {
        // Also keeps the signal reachable: a combined signal (`AbortSignal.any`) is only weakly held by its sources.
        signal.throwIfAborted();
        const { done, value } = await reader.read();
        if (signal.aborted) return;
        if (!done) return controller.enqueue(value);
        settle();
        controller.close();
      } catch (error) {
        settle();
        throw error;
      }
    },
    cancel(reason) {
      settle();
      return reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
  return new Response(body, response);
}
