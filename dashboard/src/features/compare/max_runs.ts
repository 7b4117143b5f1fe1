/** As many runs as a table and a chart can show. Apart from the page, which loads on demand. */
export const maxRuns = 6;
