/** Numbers, sizes and times as text. */

/** "45s", "3m 07s", "2h 15m". */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const pad = (value: number) => String(Math.floor(value)).padStart(2, "0");
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${pad(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h ${pad(whole % 3600 / 60)}m`;
}

/** "$3.50"; amounts under ten cents with four digits: "$0.0123". */
export function formatUsd(amount: number): string {
  return `$${amount.toFixed(amount > 0 && amount < 0.1 ? 4 : 2)}`;
}

/** Unix seconds in the local time zone: "2026-11-25 01:54:07". */
export function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toLocaleString("sv-SE");
}

/** Unix seconds as a local time of day: "01:54:07". */
export const formatClock = (seconds: number): string => formatTime(seconds).slice(11);

/** "812 B", "1.4 MB"; powers of 1,000. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  const power = Math.min(units.length, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[power - 1]}`;
}

/** "1,234,567". */
export const formatCount = (value: number): string => value.toLocaleString("en-US");

/** "1 row", "1,200 rows". */
export const pluralize = (value: number, singular: string, plural = `${singular}s`): string =>
  `${formatCount(value)} ${value === 1 ? singular : plural}`;

export interface Range {
  low: number;
  expected: number;
  high: number;
}

/** "3m 20s (2m 50s to 5m 01s)", or the value alone when both ends read the same. */
export function formatRange(range: Range, format: (value: number) => string): string {
  const [low, expected, high] = [range.low, range.expected, range.high].map(format);
  return low === high ? `${expected}` : `${expected} (${low} to ${high})`;
}

/** "validating_files" as "validating files". */
export const humanize = (name: string): string => name.replaceAll("_", " ");
