/** Which words of an answer differ from the expected one. Imports nothing, so that tests run it without a browser. */

export interface Segment {
  text: string;
  /** Not in the expected answer. */
  differs: boolean;
}

/** Comparing takes time and memory proportional to the product of both lengths. */
const maxWords = 600;

/** Words with trailing space, and punctuation, so that compact JSON is split too. */
const split = (text: string): string[] =>
  text.match(/[\p{L}\p{N}_]+(?:[.-][\p{L}\p{N}_]+)*\s*|[^\p{L}\p{N}_]\s*/gu) ?? [];

/** Splits the answer into segments by the longest common subsequence of words. One segment if the texts are long or share no words. */
export function findDifferences(expected: string, answer: string): Segment[] {
  if (answer === expected || answer === "") {
    return [{ text: answer, differs: false }];
  }
  const [a, b] = [split(expected), split(answer)];
  if (a.length > maxWords || b.length > maxWords) {
    return [{ text: answer, differs: false }];
  }
  const lengths = commonLengths(a, b);
  if (at(lengths, 0, 0) * 4 < b.length) {
    return [{ text: answer, differs: false }];
  }
  const segments: Segment[] = [];
  const add = (text: string, differs: boolean) => {
    const last = segments.at(-1);
    if (last?.differs === differs) last.text += text;
    else segments.push({ text, differs });
  };
  let i = 0;
  for (let j = 0; j < b.length;) {
    const word = b[j] ?? "";
    if (i < a.length && a[i]?.trim() === word.trim()) {
      add(word, false);
      i++;
      j++;
    } else if (i < a.length && at(lengths, i + 1, j) >= at(lengths, i, j + 1)) {
      i++;
    } else {
      add(word, true);
      j++;
    }
  }
  return segments;
}

type Lengths = Uint16Array[];
const at = (lengths: Lengths, i: number, j: number): number => lengths[i]?.[j] ?? 0;

/** `[i][j]`: the length of the longest common subsequence of the words from i and from j. */
function commonLengths(a: string[], b: string[]): Lengths {
  const lengths = Array.from(
    { length: a.length + 1 },
    () => new Uint16Array(b.length + 1),
  );
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const row = lengths[i];
      if (row === undefined) continue;
      row[j] = a[i]?.trim() === b[j]?.trim()
        ? at(lengths, i + 1, j + 1) + 1
        : Math.max(at(lengths, i + 1, j), at(lengths, i, j + 1));
    }
  }
  return lengths;
}
