/** Schedules of pg_cron: `[1-59] seconds`, or five fields in UTC. */

export interface Schedule {
  /** Whether a job is due, given its last start (or the time when it was first seen) and the current time. */
  isDue(last: Date, now: Date): boolean;
}

const minuteMs = 60_000;

/** Throws a RangeError for a schedule that pg_cron would not accept. */
export function parseSchedule(text: string): Schedule {
  const interval = /^\s*([1-9]|[1-5]\d)\s+seconds?\s*$/i.exec(text);
  if (interval !== null) {
    const ms = Number(interval[1]) * 1000;
    return { isDue: (last, now) => now.getTime() - last.getTime() >= ms };
  }
  const parts = text.trim().split(/\s+/);
  const [minute, hour, day, month, weekday] = fields.map((range, index) => field(parts[index], range, text));
  if (parts.length !== 5 || !minute || !hour || !day || !month || !weekday) throw invalid(text);
  return {
    isDue: (last, now) => {
      if (Math.floor(last.getTime() / minuteMs) === Math.floor(now.getTime() / minuteMs)) return false;
      if (
        !minute.has(now.getUTCMinutes()) || !hour.has(now.getUTCHours()) || !month.has(now.getUTCMonth() + 1)
      ) {
        return false;
      }
      const isDay = day.has(now.getUTCDate());
      const isWeekday = weekday.has(now.getUTCDay()) || weekday.has(now.getUTCDay() === 0 ? 7 : -1);
      // As in cron: two restricted fields are alternatives.
      const bothRestricted = !parts[2]?.startsWith("*") && !parts[4]?.startsWith("*");
      return bothRestricted ? isDay || isWeekday : isDay && isWeekday;
    },
  };
}

interface Range {
  min: number;
  max: number;
  names?: string[];
}

const fields: Range[] = [
  { min: 0, max: 59 },
  { min: 0, max: 23 },
  { min: 1, max: 31 },
  {
    min: 1,
    max: 12,
    names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
  },
  { min: 0, max: 7, names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

function field(text: string | undefined, { min, max, names = [] }: Range, schedule: string): Set<number> {
  const number = (part: string) => {
    const named = names.indexOf(part.toLowerCase());
    const value = named >= 0 ? named + min : Number(part);
    if (part === "" || !Number.isInteger(value) || value < min || value > max) throw invalid(schedule);
    return value;
  };
  const values = new Set<number>();
  for (const item of (text ?? "").split(",")) {
    const [range = "", step = "1", ...rest] = item.split("/");
    const [from = "", to = item.includes("/") ? String(max) : from, ...more] = range === "*"
      ? [String(min), String(max)]
      : range.split("-");
    if (rest.length > 0 || more.length > 0 || !/^[1-9]\d*$/.test(step)) throw invalid(schedule);
    for (let value = number(from); value <= number(to); value += Number(step)) values.add(value);
  }
  return values;
}

const invalid = (schedule: string) => new RangeError(`invalid schedule: ${schedule}`);
