/**
 * Validation throughput of a training file in MB per second, compared with decoding it, splitting it into lines and
 * JSON.parse of each; and whether memory stays constant for a much larger file.
 */
import { Validator } from "../supabase/functions/_shared/datasets/validator.ts";
import { median, type RawMeasurement, type Size } from "./results.ts";

const sizes = {
  full: { megabytes: 32, rounds: 7, largeMegabytes: 512 },
  short: { megabytes: 2, rounds: 1, largeMegabytes: 4 },
};
const mostGrowthMb = 32;
const chunkBytes = 65_536;

/** Distinct conversations of a few turns and some hundred words; each `seed` gives a different file. */
export function makeFile(bytes: number, seed = 42): Uint8Array<ArrayBuffer> {
  const words = "the order arrived late and I would like to know how a refund works when half of it was used"
    .split(" ");
  let random = seed;
  const next = () => (random = (random * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648;
  const text = (count: number) =>
    Array.from({ length: count }, () => words[Math.floor(next() * words.length)]).join(" ");
  const lines: string[] = [];
  for (let size = 0; size < bytes;) {
    const turns = 1 + Math.floor(next() * 3);
    const messages = [
      { role: "system", content: "You answer for a shop." },
      ...Array.from({ length: turns }, () => [
        { role: "user", content: `${text(40)} #${Math.floor(next() * 1e9)}` },
        { role: "assistant", content: `${text(60)}\n„Gruß"` },
      ]).flat(),
    ];
    const line = JSON.stringify({ messages });
    lines.push(line);
    size += line.length + 1;
  }
  return new TextEncoder().encode(lines.join("\n") + "\n");
}

export function validation(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const { megabytes, rounds, largeMegabytes } = sizes[size];
  const file = makeFile(megabytes * 2 ** 20);
  const mb = file.length / 1e6;
  const checked = () => {
    const validator = new Validator();
    for (let at = 0; at < file.length; at += chunkBytes) validator.push(file.subarray(at, at + chunkBytes));
    const report = validator.end();
    if (report.error_rows > 0 || report.rows < 1000) throw new Error(JSON.stringify(report.errors[0]));
  };
  const parsed = () => {
    let rows = 0;
    for (const line of new TextDecoder().decode(file).split("\n")) {
      if (line !== "") rows += Number(typeof JSON.parse(line) === "object");
    }
    if (rows < 1000) throw new Error("no rows");
  };
  const rate = (run: () => void) => {
    const begin = performance.now();
    run();
    return mb / ((performance.now() - begin) / 1000);
  };
  checked();
  parsed();
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    theirs.push(rate(parsed));
    ours.push(rate(checked));
  }
  log(
    `${mb.toFixed(0)} MB: checked at ${median(ours).toFixed(0)} MB/s, parsed at ${
      median(theirs).toFixed(0)
    } MB/s`,
  );

  // Repeating the same bytes would still accumulate anything that validation keeps per row.
  const validator = new Validator();
  let least = Infinity;
  let most = 0;
  const times = Math.ceil(largeMegabytes / megabytes);
  for (let n = 0; n < times; n++) {
    for (let at = 0; at < file.length; at += chunkBytes) validator.push(file.subarray(at, at + chunkBytes));
    const used = Deno.memoryUsage().heapUsed / 1e6;
    if (n > 0) {
      least = Math.min(least, used);
      most = Math.max(most, used);
    }
  }
  validator.end();
  log(`heap from ${least.toFixed(0)} to ${most.toFixed(0)} MB while ${largeMegabytes} MiB went through`);
  return Promise.resolve([{
    value: median(ours),
    unit: "MB/s checked",
    against: `JSON.parse of each line, ${median(theirs).toFixed(0)} MB/s`,
    ratio: median(ours.map((value, i) => value / (theirs[i] ?? NaN))),
    goal: 0.5,
  }, {
    value: Math.max(most - least, 0.1),
    unit: `MB between the least and the most heap while ${largeMegabytes} MiB go through`,
    against: `the limit, ${mostGrowthMb} MB`,
    ratio: mostGrowthMb / Math.max(most - least, 0.1),
    goal: 1,
  }]);
}
