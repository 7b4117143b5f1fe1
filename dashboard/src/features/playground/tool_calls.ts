/** Answers and their tool calls as text. */
interface Call {
  name: string;
  arguments: string;
}

/** An answer's text and tool calls. */
export const answerText = (content: string, calls: Call[]): string =>
  [content, ...calls.map(formatCall)].filter((part) => part !== "").join("\n")
    .trim();

/** `get_order({"order_id": "7"})`; valid arguments are formatted alike, so that calls can be compared. */
export function formatCall({ name, arguments: text }: Call): string {
  return `${name}(${formatArguments(text)})`;
}

function formatArguments(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text; // the model's JSON is invalid
  }
}
