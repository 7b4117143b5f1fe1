/** Figures and times as people read them, in the viewer's own language and zone. */

const one = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

export const count = (value: number): string => whole.format(value);
/** `5.2M` */
export const short = (value: number): string => value < 10_000 ? whole.format(value) : compact.format(value);

/** `1.4 MB`; powers of 1,000. */
export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = value < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${one.format(value / 1000 ** step)} ${units[step]}`;
}

/** `$0.42`; with four digits where it is less than a cent. */
export function usd(value: number): string {
  const digits = value !== 0 && Math.abs(value) < 0.1 ? 4 : 2;
  return `$${value.toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: digits })}`;
}

/** `2 h 5 min`, `40 s` */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} days`;
}

/** `2,900 to 5,100`, or one figure where both ends read the same. */
export function range(
  { low, high }: { low: number; high: number },
  show: (value: number) => string,
): string {
  const [from, to] = [show(low), show(high)];
  return from === to ? from : `${from} to ${to}`;
}

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
/** Unix seconds. */
export const time = (unix: number): string => moment.format(unix * 1000);
export const exactTime = (unix: number): string => exact.format(unix * 1000);
export const clockTime = (unix: number): string => clock.format(unix * 1000);
export const timeZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Four significant digits; very small ones as `2e-4`. */
export function figure(value: number): string {
  if (value === 0) return "0";
  return Math.abs(value) < 0.001
    ? value.toExponential(2).replace(/\.?0+e/, "e")
    : String(Number(value.toPrecision(4)));
}

/** `validating_files` as `validating files` */
export const words = (name: string): string => name.replaceAll("_", " ");
