/** Stores a page's state across reloads: in this tab, until it is closed or the user signs out. */
import { getProjectId } from "./services.ts";

const prefix = "tunebase-page ";
/** Each project has its own. */
const storageKey = (name: string) => `${prefix}${name} ${getProjectId() ?? ""}`;

/** The stored value, as `JSON.parse` returns it; null if there is none. */
export function readSession(name: string): unknown {
  const text = sessionStorage.getItem(storageKey(name));
  return text === null ? null : JSON.parse(text);
}

export function writeSession(name: string, value: unknown): void {
  try {
    sessionStorage.setItem(storageKey(name), JSON.stringify(value));
  } catch {
    // The storage is full: the value is lost only on a reload.
  }
}

/** Removes the user's input, so that the tab's next user does not see it. */
export function clearSession(): void {
  const keys = Object.keys(sessionStorage).filter((key) => key.startsWith(prefix));
  for (const key of keys) sessionStorage.removeItem(key);
}
