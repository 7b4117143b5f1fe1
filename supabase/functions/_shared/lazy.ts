/**
 * Modules that are loaded by the first request that needs them. A function that loads everything at its start takes most
 * of that time for what its first request does not touch: the database driver, the schemas of all routes, Node's modules.
 *
 * A static import of a module of Node is moved to the top of a bundle, and the first of them nearly doubles the start of a
 * function of Hono alone: modules that are loaded on first use import Node's with `await import()`.
 */

/** Makes a value when it is first asked for; the same one from then on. */
export function lazy<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () => made ??= make();
}

/** Makes routes of an app with the context `C`, each of whose modules is loaded by its first request. */
export function lazyRoutes<C>() {
  return <Name extends string>(
    load: () => Promise<Record<Name, (c: C) => Response | Promise<Response>>>,
    name: Name,
  ) => {
    // Kept: an `import()` goes through the loader each time.
    const loaded = lazy(load);
    return async (c: C): Promise<Response> => (await loaded())[name](c);
  };
}
