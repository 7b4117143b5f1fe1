/** The regular expressions of graders, checked by the API and before the CLI uploads anything. */

export const maxPatternLength = 1000;

/**
 * What is wrong with a pattern, or null. It has RE2's syntax, whose matching time is linear: no pattern can hang the
 * scheduler. RE2JS (150 kB) is loaded only if there is a pattern.
 */
export async function findPatternProblem(pattern: string): Promise<string | null> {
  if (pattern === "" || pattern.length > maxPatternLength) {
    return `must have 1 to ${maxPatternLength} characters`;
  }
  const { RE2JS } = await import("re2js");
  try {
    RE2JS.compile(pattern);
    return null;
  } catch (error) {
    return `is not a valid RE2 regular expression (${error instanceof Error ? error.message : error})`;
  }
}
