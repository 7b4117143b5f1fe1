/** Numbers and times as text, in the user's language and time zone. */

const oneDecimal = new Intl.NumberFormat(undefined, {
  maximumFractionDigits: 1,
});
const noDecimals = new Intl.NumberFormat(undefined, {
  maximumFractionDigits: 0,
});
const compact = new Intl.NumberFormat(undefined, {
  notation: "compact",
  maximumFractionDigits: 1,
});

export const formatCount = (value: number): string => noDecimals.format(value);
/** `5.2M` */
export const formatCompact = (value: number): string =>
  value < 10_000 ? noDecimals.format(value) : compact.format(value);

/** `1 row`, `1,200 rows` */
export const pluralize = (
  value: number,
  singular: string,
  plural = `${singular}s`,
): string => `${formatCompact(value)} ${value === 1 ? singular : plural}`;

/** `1.4 MB`; powers of 1,000. */
export function formatBytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = value < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${oneDecimal.format(value / 1000 ** power)} ${units[power]}`;
}

/** `$0.42`; amounts under ten cents with four digits. */
export function formatUsd(value: number): string {
  const digits = value !== 0 && Math.abs(value) < 0.1 ? 4 : 2;
  return `$${
    value.toLocaleString(undefined, {
      minimumFractionDigits: 2,
      maximumFractionDigits: digits,
    })
  }`;
}

/** `2 h 5 min`, `40 s` */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} days`;
}

/** `2,900–5,100`, or one number when both ends read the same. */
export function formatRange(
  { low, high }: { low: number; high: number },
  format: (value: number) => string,
): string {
  const [from, to] = [format(low), format(high)];
  return from === to ? from : `${from}–${to}`;
}

const dateTime = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium",
  timeStyle: "short",
});
const fullDateTime = new Intl.DateTimeFormat(undefined, {
  dateStyle: "full",
  timeStyle: "long",
});
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
/** Times are Unix seconds. */
export const formatTime = (unix: number): string => dateTime.format(unix * 1000);
export const formatFullTime = (unix: number): string => fullDateTime.format(unix * 1000);
export const formatClock = (unix: number): string => clock.format(unix * 1000);
export const getTimeZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Four significant digits; very small numbers as `2e-4`. */
export function formatNumber(value: number): string {
  if (value === 0) return "0";
  return Math.abs(value) < 0.001
    ? value.toExponential(2).replace(/\.?0+e/, "e")
    : String(Number(value.toPrecision(4)));
}

/** `validating_files` as `validating files` */
export const humanize = (name: string): string => name.replaceAll("_", " ");

/** `66.7%` */
export const formatShare = (value: number | null): string =>
  value === null ? "–" : `${oneDecimal.format(value * 100)}%`;
