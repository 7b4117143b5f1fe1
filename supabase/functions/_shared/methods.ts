/** Which methods a path has, read from an app's own routes: for `Allow`, OPTIONS and 405. */
import type { Env, Hono } from "hono";

/** `["GET", "HEAD", …]` of an encoded path; empty where there is nothing. */
export function allowedMethods<E extends Env>(app: Hono<E>, path: string): string[] {
  const routes = app.routes.filter(({ method }) => !["ALL", "OPTIONS"].includes(method));
  // `/files/direct` is no file.
  const exact = routes.filter((route) => route.path === path);
  const found = (exact.length > 0 ? exact : routes.filter((route) => matches(route.path, path)))
    .map(({ method }) => method);
  const methods = new Set(found.flatMap((method) => method === "GET" ? ["GET", "HEAD"] : [method]));
  return methods.size === 0 ? [] : [...methods, "OPTIONS"];
}

/** Most routes differ before their first parameter, and need no regular expression. */
const matches = (route: string, path: string) =>
  path.startsWith(route.replace(/[:*].*$/, "")) && pattern(route).test(path);

/** A route's path, with Hono's `:name` and `:name{regexp}`, as a regular expression. */
function pattern(path: string): RegExp {
  const source = path.split("/").map((part) => {
    const named = /^:[A-Za-z_]+(?:\{(.+)\})?$/.exec(part);
    if (named !== null) return named[1] ?? "[^/]+";
    return part === "*" ? ".*" : part.replace(/[.+?^${}()|[\]\\]/g, "\\$&");
  });
  return new RegExp(`^${source.join("/")}$`);
}
