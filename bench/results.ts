/** What a bench finds, how it is judged, printed and kept in `.tunebase/bench.json`. */
import { cache } from "../local/state_dir.ts";
import { exists, join } from "../local/paths.ts";

/** One figure. `ratio` is made so that more is better, whatever `unit` is: it is ok at `goal` or above. */
export interface Figure {
  /** The bench's name; several figures may share it. */
  name: string;
  value: number;
  unit: string;
  /** What it is measured against in the same run: a peer with its own figure, or a limit. */
  against: string;
  ratio: number;
  goal: number;
  ok: boolean;
  machine: string;
}

/** A figure before it is judged. */
export type Measured = Omit<Figure, "name" | "ok" | "machine">;

/**
 * "full" measures. "short" only shows that the bench still runs and returns its figures, in a few seconds; its values
 * mean nothing and are not judged.
 */
export type Size = "full" | "short";

export type Bench = (log: (line: string) => void, size: Size) => Promise<Measured[]>;

/** Rounds to what a measurement is worth. */
export function judge(name: string, machine: string, measured: Measured): Figure {
  const { value, ratio } = measured;
  return { ...measured, name, value: round(value), ratio: round(ratio), ok: ratio >= measured.goal, machine };
}

const round = (value: number) => Number(value.toPrecision(4));

/** `ok      callbacks  1234 callbacks/s, against …: 0.81 (goal 0.7)` */
export function line({ ok, name, value, unit, against, ratio, goal }: Figure): string {
  return `${ok ? "ok    " : "MISSED"} ${
    name.padEnd(21)
  } ${value} ${unit}, against ${against}: ratio ${ratio}, goal ${goal}`;
}

const file = join(cache, "bench.json");

/** Puts a bench's figures in the place of its earlier ones; the other benches' stay. */
export async function keep(name: string, figures: Figure[]): Promise<void> {
  const before: Figure[] = await exists(file) ? JSON.parse(await Deno.readTextFile(file)) : [];
  const rows = [...before.filter((row) => row.name !== name), ...figures];
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
