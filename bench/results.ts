/** Measurements: evaluated, printed and saved in `.tunebase/bench.json`. */
import { cache } from "../local/state_dir.ts";
import { exists, join } from "../local/paths.ts";

/** One measurement. A higher `ratio` is always better, whatever `unit` is: ok at `goal` or above. */
export interface Measurement {
  /** The bench's name; a bench can have several measurements. */
  name: string;
  value: number;
  unit: string;
  /** The comparison within the same run: a baseline with its value, or a limit. */
  against: string;
  ratio: number;
  goal: number;
  ok: boolean;
  machine: string;
}

/** A measurement before evaluation. */
export type RawMeasurement = Omit<Measurement, "name" | "ok" | "machine">;

/**
 * "full" measures. "short" only checks, in a few seconds, that the bench runs and returns measurements; its values are
 * meaningless and not evaluated.
 */
export type Size = "full" | "short";

export type Bench = (log: (line: string) => void, size: Size) => Promise<RawMeasurement[]>;

/** Rounds to meaningful digits. */
export function evaluate(name: string, machine: string, measured: RawMeasurement): Measurement {
  const { value, ratio } = measured;
  return { ...measured, name, value: round(value), ratio: round(ratio), ok: ratio >= measured.goal, machine };
}

const round = (value: number) => Number(value.toPrecision(4));

/** `ok      callbacks  1234 callbacks/s, against …: 0.81 (goal 0.7)` */
export function line({ ok, name, value, unit, against, ratio, goal }: Measurement): string {
  return `${ok ? "ok    " : "MISSED"} ${
    name.padEnd(21)
  } ${value} ${unit}, against ${against}: ratio ${ratio}, goal ${goal}`;
}

const file = join(cache, "bench.json");

/** Replaces a bench's earlier measurements; keeps those of other benches. */
export async function save(name: string, measurements: Measurement[]): Promise<void> {
  const before: Measurement[] = await exists(file) ? JSON.parse(await Deno.readTextFile(file)) : [];
  const rows = [...before.filter((row) => row.name !== name), ...measurements];
  await Deno.writeTextFile(file, JSON.stringify(rows, null, 2) + "\n");
}

/** The value below which `share` of the values lie (nearest rank). */
export function percentile(values: number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const found = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  if (found === undefined) throw new Error("nothing was measured");
  return found;
}

export const median = (values: number[]): number => percentile(values, 0.5);
