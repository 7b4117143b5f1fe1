/** Assertions in the style of `@std/assert`, over `node:assert`: the standard library is not on npm. */
import nodeAssert from "node:assert/strict";

/** Fails unless `value` is truthy. */
export function assert(value: unknown, message?: string): asserts value {
  nodeAssert.ok(value, message);
}

/** Deep, strict equality. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  nodeAssert.deepStrictEqual(actual, expected, message);
}

/** Deep, strict inequality. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  nodeAssert.notDeepStrictEqual(actual, expected, message);
}

/** Fails unless `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  nodeAssert.ok(
    actual.includes(expected),
    message ?? `expected ${JSON.stringify(actual)} to contain ${JSON.stringify(expected)}`,
  );
}

/** Fails unless `actual` matches `pattern`. */
export function assertMatch(actual: string, pattern: RegExp, message?: string): void {
  nodeAssert.match(actual, pattern, message);
}

/** Fails unless the promise rejects (with an error of this class, where one is named); returns what it rejected with. */
export function assertRejects<E extends Error>(
  run: () => Promise<unknown>,
  ErrorClass: abstract new (...args: never[]) => E,
  message?: string,
): Promise<E>;
export function assertRejects(run: () => Promise<unknown>, message?: string): Promise<unknown>;
export async function assertRejects(
  run: () => Promise<unknown>,
  expected?: string | (abstract new (...args: never[]) => Error),
  message?: string,
): Promise<unknown> {
  const text = typeof expected === "string" ? expected : message;
  try {
    await run();
  } catch (error) {
    if (typeof expected === "function") {
      nodeAssert.ok(error instanceof expected, text ?? `expected ${expected.name}, got ${error}`);
    }
    return error;
  }
  nodeAssert.fail(text ?? "expected a rejection");
}
