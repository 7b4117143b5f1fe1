/** The API's times: Unix seconds, as OpenAI's are. */

/** A time of the database (ISO 8601) in Unix seconds; null stays null. */
export function seconds(time: string): number;
export function seconds(time: string | null): number | null;
export function seconds(time: string | null): number | null {
  return time === null ? null : Math.floor(Date.parse(time) / 1000);
}
