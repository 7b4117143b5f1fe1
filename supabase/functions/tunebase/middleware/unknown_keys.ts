/**
 * Limits database calls for invalid API keys, which happen before any project's rate limit applies. A rejected key is
 * remembered for a few seconds, and each address and all addresses together can try only a limited number of new keys per
 * minute. In memory, per isolate.
 */
import { ApiError } from "../../_shared/errors.ts";

const rememberMs = 5_000;
const windowMs = 60_000;
const maxPerAddress = 120;
const maxTotal = 1_200;
const maxRemembered = 10_000;

export class UnknownKeys {
  readonly #refused = new Map<string, number>();
  #counts = new Map<string, number>();
  #together = 0;
  #windowEnds = 0;

  /** Call before looking up a key. Throws invalid_api_key for a rejected key, and 429 above the limit. */
  check(hash: string, address: string, now = Date.now()): void {
    if ((this.#refused.get(hash) ?? 0) > now) throw ApiError.of("invalid_api_key");
    if (now >= this.#windowEnds) {
      this.#windowEnds = now + windowMs;
      this.#counts = new Map();
      this.#together = 0;
    }
    if (this.#together < maxTotal && (this.#counts.get(address) ?? 0) < maxPerAddress) return;
    const seconds = Math.ceil((this.#windowEnds - now) / 1000);
    throw ApiError.of("too_many_unknown_keys", { seconds }, { headers: { "retry-after": String(seconds) } });
  }

  /** Call after the database has rejected a key. */
  refused(hash: string, address: string, now = Date.now()): void {
    if (this.#refused.size >= maxRemembered) this.#refused.clear();
    this.#refused.set(hash, now + rememberMs);
    this.#together += 1;
    this.#counts.set(address, (this.#counts.get(address) ?? 0) + 1);
  }
}
