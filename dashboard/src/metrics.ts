/** A run's figures for charts: the whole of it from the API, and what has come since by the stream. */
import type { Event, Point } from "./data.ts";

/** Beyond so many points the whole is read again, downsampled. */
export const mostPoints = 3000;

/** By step, each once; what comes later counts, as a later attempt trains a step again. */
export function merge(points: readonly Point[], fresh: readonly Point[]): Point[] {
  const last = points.at(-1)?.step ?? -1;
  if (fresh.every(({ step }, n) => step > (fresh[n - 1]?.step ?? last))) return [...points, ...fresh];
  const bySteps = new Map([...points, ...fresh].map((point) => [point.step, point]));
  return [...bySteps.values()].sort((a, b) => a.step - b.step);
}

/** The figures among events. */
export function pointsOf(events: readonly Event[]): Point[] {
  return events.flatMap(({ type, data }) =>
    type === "metrics" && data !== null && typeof data.step === "number" ? [data as unknown as Point] : []
  );
}

/** One column of the points, and whether there is anything in it. */
export const column = (points: readonly Point[], name: keyof Point): (number | null)[] =>
  points.map((point) => point[name] ?? null);
export const hasAny = (points: readonly Point[], name: keyof Point): boolean =>
  points.some((point) => typeof point[name] === "number");
