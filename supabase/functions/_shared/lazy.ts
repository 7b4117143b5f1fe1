/**
 * Lazy loading. Importing everything up front takes most of a function's boot time, for modules that its first request may
 * not need: the database driver, the schemas of all routes, Node's modules.
 *
 * Modules that are loaded lazily import Node's modules with `await import()`: bundlers hoist a static import to the top of
 * the bundle, and the first Node module alone nearly doubles the boot time of a function that otherwise imports only Hono.
 */

/** Calls `make` on the first call and returns the same promise from then on. */
export function lazy<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () => made ??= make();
}
