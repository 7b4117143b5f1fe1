/** Where uploads of an attempt land before they are verified. */

/**
 * An upload's token lives on after the upload and could write the object again. So uploads land under `incoming/`,
 * and a verified file is moved out of its token's reach, to the prefix that downloads are signed for.
 */
export function incomingObject(prefix: string, fence: number, path: string): string {
  return `incoming/${prefix}/${fence}/${path}`;
}

/** What SQL says of a worker that wants to write: its order, and the attempt's prefix in the bucket `adapters`. */
export interface Writer {
  order: "continue" | "cancel" | "pause" | "stop";
  prefix: string;
}
