/** GET /billing/serverless: the cost of the workers' running time, in time buckets. Differs: no disk costs or fees. */
import { Problem } from "./problem.ts";
import type { Session } from "./schemas.ts";

const sizes = ["hour", "day", "week", "month", "year"] as const;
type Size = typeof sizes[number];

/** The start of the bucket that contains a time, `shift` buckets later. UTC; weeks start on Monday. */
function bucketStart(time: number, size: Size, shift = 0): number {
  const at = new Date(time);
  const [year, month, day] = [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()];
  switch (size) {
    case "hour":
      return Date.UTC(year, month, day, at.getUTCHours() + shift);
    case "day":
      return Date.UTC(year, month, day + shift);
    case "week":
      return Date.UTC(year, month, day - (at.getUTCDay() + 6) % 7 + 7 * shift);
    case "month":
      return Date.UTC(year, month + shift);
    case "year":
      return Date.UTC(year + shift, 0);
  }
}

export function serverlessBilling(query: URLSearchParams, sessions: Session[], now = Date.now()) {
  const size = sizes.find((size) => size === (query.get("bucketSize") ?? "day"));
  if (size === undefined) {
    throw new Problem(422, "Request validation failed.", [`bucketSize: value must be one of ${sizes}`]);
  }
  const lastN = query.get("lastN");
  if (lastN !== null && (query.has("startTime") || query.has("endTime"))) {
    throw new Problem(400, "lastN excludes startTime and endTime");
  }
  const time = (name: string, fallback: number) => {
    const text = query.get(name);
    const value = text === null ? fallback : Date.parse(text);
    if (Number.isNaN(value)) {
      throw new Problem(422, "Request validation failed.", [`${name}: not a date-time`]);
    }
    return value;
  };
  const end = time("endTime", now);
  const from = lastN === null
    ? bucketStart(time("startTime", now - 30 * 86_400_000), size)
    : bucketStart(now, size, 1 - Number(lastN));
  const to = bucketStart(end, size) === end && lastN === null ? end : bucketStart(end, size, 1);
  const only = query.get("serverlessId");

  const records = [];
  const ids = [...new Set(sessions.map(({ endpoint }) => endpoint))].filter((id) =>
    only === null || id === only
  );
  for (let start = from; start < to; start = bucketStart(start, size, 1)) {
    const stop = bucketStart(start, size, 1);
    for (const id of ids) {
      const amount = sessions.filter(({ endpoint }) => endpoint === id).reduce((sum, session) => {
        const ms = Math.min(session.endedAt, stop) - Math.max(session.startedAt, start);
        return sum + Math.max(0, ms) / 3_600_000 * session.usdPerHour;
      }, 0);
      if (amount === 0) continue;
      records.push({
        startTime: new Date(start).toISOString(),
        endTime: new Date(stop).toISOString(),
        serverlessId: id,
        ...amounts(amount),
      });
    }
  }
  return {
    records,
    metadata: {
      query: {
        startTime: new Date(from).toISOString(),
        endTime: new Date(to).toISOString(),
        bucketSize: size,
        serverlessId: only,
      },
      recordCount: records.length,
      uniqueServerlessCount: new Set(records.map(({ serverlessId }) => serverlessId)).size,
      totals: amounts(records.reduce((sum, { totalAmount }) => sum + totalAmount, 0)),
    },
  };
}

const amounts = (usd: number) => ({
  totalAmount: usd,
  gpuAmount: usd,
  cpuAmount: 0,
  diskAmount: 0,
  feeAmount: 0,
});
