/** A separate module, because the driver is imported lazily and `import()` does not support `@ts-types`. */
// @ts-types="./pg.d.ts"
import pg from "pg";

export const Client = pg.Client;
