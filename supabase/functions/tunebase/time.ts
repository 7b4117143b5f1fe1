/** Timestamps in the API are Unix seconds, as in OpenAI's. */

/** Converts a database timestamp (ISO 8601) to Unix seconds. */
export function seconds(time: string): number;
export function seconds(time: string | null): number | null;
export function seconds(time: string | null): number | null {
  return time === null ? null : Math.floor(Date.parse(time) / 1000);
}
