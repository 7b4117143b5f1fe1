/** "Did you mean": finds the known name closest to a misspelled one. */

/** The name in `known` that was probably meant by `name`; null if none is close. An exact match is not a near miss. */
export function nearMiss(name: string, known: Iterable<string>): string | null {
  const given = plain(name);
  // No known name is longer, so longer input cannot be a near miss.
  if (given === "" || given.length > 40) return null;
  let best: { name: string; distance: number } | null = null;
  for (const candidate of known) {
    if (candidate === name) return null;
    const target = plain(candidate);
    // One typo in a short name, two in a longer one: "input" must not become "output".
    const allowed = target.length < 8 ? 1 : 2;
    const distance = editDistance(given, target);
    if (distance <= allowed && (best === null || distance < best.distance)) {
      best = { name: candidate, distance };
    }
  }
  return best?.name ?? null;
}

/** ` Did you mean "messages"?`, or an empty string. */
export function didYouMean(name: string, known: Iterable<string>): string {
  const meant = nearMiss(name, known);
  return meant === null ? "" : ` Did you mean "${meant}"?`;
}

/** Ignores case and word separators. */
const plain = (name: string) => name.toLowerCase().replace(/[\s_-]+/g, "");

/** Optimal string alignment: insertions, deletions, substitutions, and swaps of neighbors. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min((row[j - 1] ?? 0) + 1, (last[j] ?? 0) + 1, (last[j - 1] ?? 0) + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, (beforeLast[j - 2] ?? 0) + 1);
      }
      row.push(least);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
