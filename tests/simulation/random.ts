/**
 * Reproducible randomness: every number follows from a seed. Not fast-check's model runner, which generates all commands of a
 * run before executing the first one: here, their weights and targets depend on the current state.
 */

/** Mixes numbers into 32 bits (the finaliser of MurmurHash3 over each). */
export function mix(...numbers: number[]): number {
  let hash = 0x9e3779b9;
  for (const number of numbers) {
    hash ^= number;
    hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
    hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
    hash ^= hash >>> 16;
  }
  return hash >>> 0;
}

/** mulberry32. */
export class Random {
  #state: number;
  constructor(readonly seed: number) {
    this.#state = seed >>> 0;
  }

  /** 32 random bits. */
  bits(): number {
    this.#state = this.#state + 0x6d2b79f5 >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ t >>> 15, t | 1);
    t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return (t ^ t >>> 14) >>> 0;
  }

  /** A whole number from 0, below `n`. */
  below(n: number): number {
    return this.bits() % n;
  }

  chance(probability: number): boolean {
    return this.bits() < probability * 2 ** 32;
  }

  /** One of the names, with probability proportional to its weight. */
  weighted<T extends string>(weights: Partial<Record<T, number>>): T {
    const entries = Object.entries(weights) as [T, number][];
    let left = this.bits() / 2 ** 32 * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of entries) if ((left -= weight) < 0) return name;
    const last = entries.findLast(([, weight]) => weight > 0);
    if (last === undefined) throw new Error("nothing has a weight");
    return last[0];
  }

  /** One of the values, each equally likely. */
  any<T>(values: readonly T[]): T {
    const value = values[this.below(values.length)];
    if (value === undefined) throw new Error("nothing to choose from");
    return value;
  }

  /**
   * One of the items, chosen by key and not by position: when shrinking removes commands, the others still choose the
   * same items (rendezvous hashing). undefined if there are none.
   */
  choose<T extends { key: number }>(items: Iterable<T>): T | undefined {
    const salt = this.bits();
    let best: T | undefined;
    let most = -1;
    for (const item of items) {
      const score = mix(salt, item.key);
      if (score > most) [best, most] = [item, score];
    }
    return best;
  }
}
