/**
 * What API keys that do not exist may cost. Each would be a call of the database before its caller is known, so before any
 * limit of a project holds: a key that was refused is remembered for a few seconds, and an address, and all of them
 * together, may only ask about so many new ones a minute. In memory, for each isolate: the bound is on one database.
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

  /** Before a key is asked about that nothing is known of. Refuses with invalid_api_key, or 429. */
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

  /** The database does not know the key. */
  refused(hash: string, address: string, now = Date.now()): void {
    if (this.#refused.size >= maxRemembered) this.#refused.clear();
    this.#refused.set(hash, now + rememberMs);
    this.#together += 1;
    this.#counts.set(address, (this.#counts.get(address) ?? 0) + 1);
  }
}
