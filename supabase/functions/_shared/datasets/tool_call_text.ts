/** Tool calls as JSON that can be compared: `[{"name": …, "arguments": {…}}]`. */
export function toolCallText(calls: { name: string; arguments: string }[]): string {
  return JSON.stringify(calls.map(({ name, arguments: text }) => ({ name, arguments: parsed(text) })));
}

/** Models may write arguments that are not JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
