/** Keys that make a request safe to send twice. */
import { useRef } from "preact/hooks";

/** A key that changes only with the request's body, so that a double click or a retry creates nothing twice. */
export function useIdempotencyKey(): (body: unknown) => string {
  const last = useRef({ body: "", key: "" });
  return (body) => {
    const text = JSON.stringify(body);
    if (last.current.body !== text) {
      last.current = { body: text, key: crypto.randomUUID() };
    }
    return last.current.key;
  };
}
