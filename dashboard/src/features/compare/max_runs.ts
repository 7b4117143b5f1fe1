/** The maximum that fits in a table and a chart. A separate module, because the page loads on demand. */
export const maxRuns = 6;
