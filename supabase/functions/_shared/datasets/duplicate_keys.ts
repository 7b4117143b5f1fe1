/**
 * Duplicate keys in JSON objects, of which JSON.parse silently keeps the last. It is cheap to compare the number of keys in
 * the text (strings followed by a colon) with those of the parsed value; only if they differ is the key searched for.
 */

/** The number of keys in all of a value's objects; Infinity if it is nested deeper than `depth`. */
export function countKeys(value: unknown, depth: number): number {
  if (value === null || typeof value !== "object") return 0;
  if (depth === 0) return Infinity;
  const list = Array.isArray(value);
  const items: unknown[] = list ? value : Object.values(value);
  let count = list ? 0 : items.length;
  for (const item of items) if (typeof item === "object") count += countKeys(item, depth - 1);
  return count;
}

/** Whether an object in valid JSON has a duplicate key. `keys`: the number of keys in the parsed value. */
export function hasDuplicateKey(text: string, keys: number): boolean {
  // Fast path: usually a colon directly follows the key's closing quote. Strings that start with a colon, and whitespace
  // before a colon, need the exact count.
  let quick = 0;
  for (let at = text.indexOf('":'); at >= 0; at = text.indexOf('":', at + 2)) {
    if (!escaped(text, at)) quick += 1;
  }
  return (quick !== keys || /"[ \t\r\n]/.test(text)) && countTextKeys(text) !== keys;
}

/** The number of keys in valid JSON. */
function countTextKeys(text: string): number {
  let count = 0;
  for (let open = text.indexOf('"'); open >= 0;) {
    const close = endOfString(text, open);
    if (colonAfter(text, close)) count += 1;
    open = text.indexOf('"', close + 1);
  }
  return count;
}

/** The first duplicate key in valid JSON, or null. */
export function duplicateKey(text: string): string | null {
  const objects: (Set<string> | null)[] = [];
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === "{") objects.push(new Set());
    else if (char === "[") objects.push(null);
    else if (char === "}" || char === "]") objects.pop();
    else if (char === '"') {
      const close = endOfString(text, i);
      if (colonAfter(text, close)) {
        const key: string = JSON.parse(text.slice(i, close + 1));
        const keys = objects.at(-1);
        if (keys?.has(key)) return key;
        keys?.add(key);
      }
      i = close;
    }
  }
  return null;
}

/** The index of the closing quote of the string that starts at `open`. */
function endOfString(text: string, open: number): number {
  for (let quote = text.indexOf('"', open + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    if (!escaped(text, quote)) return quote;
  }
  return text.length;
}

/** Whether an odd number of backslashes precedes the quote. */
function escaped(text: string, quote: number): boolean {
  let before = quote - 1;
  while (text.charCodeAt(before) === 92) before -= 1;
  return (quote - before) % 2 === 0;
}

function colonAfter(text: string, close: number): boolean {
  let next = close + 1;
  let code = text.charCodeAt(next);
  while (code === 32 || code === 9 || code === 10 || code === 13) code = text.charCodeAt(++next);
  return code === 58;
}
