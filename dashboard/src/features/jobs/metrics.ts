/** A run's metrics for charts: the whole run from the API, extended by the event stream. */
import type { JobEvent, MetricsPoint } from "../../lib/types.ts";

/** With more points than this, the downsampled run is fetched again. */
export const maxPoints = 3000;

/** Merges points by step. The later value wins: a later attempt can train a step again. */
export function mergePoints(
  points: readonly MetricsPoint[],
  fresh: readonly MetricsPoint[],
): MetricsPoint[] {
  const last = points.at(-1)?.step ?? -1;
  if (fresh.every(({ step }, n) => step > (fresh[n - 1]?.step ?? last))) {
    return [...points, ...fresh];
  }
  const byStep = new Map(
    [...points, ...fresh].map((point) => [point.step, point]),
  );
  return [...byStep.values()].sort((a, b) => a.step - b.step);
}

/** The metrics among events. */
export function pointsOf(events: readonly JobEvent[]): MetricsPoint[] {
  return events.flatMap(({ type, data }) =>
    type === "metrics" && data !== null && typeof data.step === "number"
      ? [data as unknown as MetricsPoint]
      : []
  );
}

export const column = (
  points: readonly MetricsPoint[],
  name: keyof MetricsPoint,
): (number | null)[] => points.map((point) => point[name] ?? null);
export const hasValues = (
  points: readonly MetricsPoint[],
  name: keyof MetricsPoint,
): boolean => points.some((point) => typeof point[name] === "number");
