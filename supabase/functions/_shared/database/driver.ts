/** The driver, in a module of its own: it is imported on first use, and an `import()` cannot name its types. */
// @ts-types="./pg.d.ts"
import pg from "pg";

export const Client = pg.Client;
