/** Reads a job's `integrations`, in the clients of the API. */

/** The integration of a type, or undefined. A job has at most one of each. */
export function findIntegration<I extends { type: string }, T extends I["type"]>(
  { integrations }: { integrations: I[] | null },
  type: T,
): Extract<I, { type: T }> | undefined {
  return integrations?.find((one): one is Extract<I, { type: T }> => one.type === type);
}
