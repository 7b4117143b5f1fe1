/**
 * Words that make this project read like a translation, each with what to write instead. `task check` fails on them. Run
 * alone, it lists every place: `deno run -A tests/check/words.ts`.
 */
import { root } from "../../local/state_dir.ts";

/** What not to write, and what to write instead. Patterns match whole words, in any case unless they have a capital. */
export const words: [pattern: string, instead: string][] = [
  ["anew", "again, from scratch"],
  ["go(es|ing)? on|went on|gone on", "continue"],
  ["beside", "next to, in addition to, while"],
  ["whoever|whomever", "anyone who, the caller"],
  ["mends?|mended|mending", "fix"],
  ["at the (most|least)", "at most, at least"],
  ["in vain", "without success"],
  ["nobody (knows|else)", "unknown; no one else"],
  ["makes? nothing of", "ignores"],
  ["by heart", "overfitting, memorizing"],
  ["of the house|in the house|leaves the house", "internal; before it calls out"],
  ["stands? for|stand-ins?", "emulator, fake, represents"],
  ["No such", "X was not found"],
  ["just now", "now, at the moment"],
  ["e-mails?", "email"],
  ["shall", "must, will"],
  ["lies? (in|on|under|below|there)", "is in"],
  ["must look", "must check, contact"],
  ["so many (bytes|rows|milliseconds|seconds|times|places|characters|lines|of)", "a number with a name"],
  ["took up|takes? up(?! to)|taken up", "claims, picks up"],
  ["takes? back|took back|taken back", "undo, revoke, withdraw"],
  ["comes? true", "holds"],
  ["is told of|are told of|be told of", "is notified of"],
  ["who comes second|what passes it", "name the thing"],
  [
    "(tokens|jobs|requests|bytes|calls|rows|callbacks|events|messages|usd|times|dollars) an? (second|minute|hour|day|month|request|row|job)",
    "per second, per request …",
  ],
  ["one JSON object a line|an? object a line", "one JSON object per line"],
];

/** Files that people do not write: generated, locked, licensed, or data. */
const skipped =
  /(^|\/)(deno\.lock|package-lock\.json|LICENSE|openapi\.json|api\.d\.ts|constraints\.txt|words\.ts|protocol\.schema\.json)$|^supabase\/migrations\/|\.(jsonl|csv|png|svg|parquet)$/;

export interface Finding {
  path: string;
  line: number;
  found: string;
  instead: string;
}

/** Every place in tracked files where one of the words is written. */
export async function findWords(): Promise<Finding[]> {
  const { stdout } = await new Deno.Command("git", { args: ["ls-files", "-z"], cwd: root }).output();
  const paths = new TextDecoder().decode(stdout).split("\0").filter((path) => path && !skipped.test(path));
  const patterns = words.map(([pattern, instead]) =>
    [new RegExp(`\\b(${pattern})\\b`, /[A-Z]/.test(pattern) ? "g" : "gi"), instead] as const
  );
  const findings: Finding[] = [];
  for (const path of paths) {
    const text = await Deno.readTextFile(`${root}/${path}`).catch(() => "");
    for (const [i, content] of text.split("\n").entries()) {
      for (const [pattern, instead] of patterns) {
        for (const [found] of content.matchAll(pattern)) findings.push({ path, line: i + 1, found, instead });
      }
    }
  }
  return findings;
}

if (import.meta.main) {
  const findings = await findWords();
  for (const { path, line, found, instead } of findings) {
    console.log(`${path}:${line}: “${found}”. Write: ${instead}`);
  }
  console.log(`${findings.length} found`);
  Deno.exit(findings.length === 0 ? 0 : 1);
}
