/**
 * Checks training data line by line, before anything is stored or a GPU is paid for. Reads what the trainer reads:
 * chat rows `{"messages": […]}` and `{"prompt": …, "completion": …}`, one JSON object a line.
 */
import { ApiError, type Problem } from "../_shared/errors.ts";

/** What the check found in a file that can be trained on. */
export interface DatasetReport {
  format: "chat" | "prompt_completion";
  rows: number;
  assistant_messages: number;
}

/** So many problems are told; what is wrong once is mostly wrong on every line. */
const mostProblems = 20;
const formats =
  '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]} or ' +
  '{"prompt": "…", "completion": "…"}';

/** Throws `invalid_file` with line numbers; never returns a report of a file with a broken line. */
export function inspectDataset(bytes: Uint8Array): DatasetReport {
  const problems: Problem[] = [];
  const tell = (line: number, message: string) => {
    problems.push({ param: "file", line, message: `file, line ${line}: ${message}` });
  };
  let report: DatasetReport | null = null;
  for (const [line, text] of lines(bytes)) {
    if (problems.length >= mostProblems) break;
    if (text === null) {
      tell(line, "is not UTF-8. Save the file as UTF-8.");
      continue;
    }
    const found = inspectLine(text);
    if (typeof found === "string") {
      tell(line, found);
    } else if (report !== null && found.format !== report.format) {
      tell(
        line,
        `is a ${found.format} row, and the rows before are ${report.format}. Use one format in a file.`,
      );
    } else {
      report ??= { format: found.format, rows: 0, assistant_messages: 0 };
      report.rows += 1;
      report.assistant_messages += found.learned;
    }
  }
  if (problems.length > 0) throw new ApiError("invalid_file", problems);
  if (report === null) {
    throw new ApiError("invalid_file", [{
      param: "file",
      message: `file: has no rows (${bytes.length} bytes). Send one JSON object a line: ${formats}`,
    }]);
  }
  return report;
}

/** The lines that are not blank, with their numbers from 1; null for one that is not UTF-8. */
function* lines(bytes: Uint8Array): Generator<[number, string | null]> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let number = 0;
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(10, start);
    const line = bytes.subarray(start, end < 0 ? bytes.length : end);
    start += line.length + 1;
    number += 1;
    let text: string | null;
    try {
      text = decoder.decode(line);
    } catch {
      text = null; // not UTF-8: the caller tells it with the line's number
    }
    if (text === null || text.trim() !== "") yield [number, text];
  }
}

/** The row's format and how many of its messages are learned from, or what is wrong with it. */
function inspectLine(text: string): { format: DatasetReport["format"]; learned: number } | string {
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch (error) {
    return `is not JSON (${
      error instanceof Error ? error.message : error
    }). Each line must hold one JSON object.`;
  }
  if (!isObject(row)) return `must be a JSON object: ${formats}`;
  if ("messages" in row) {
    const unknown = Object.keys(row).filter((key) => !["messages", "metadata"].includes(key));
    if (unknown.length > 0) {
      return unknown.some((key) =>
          ["tools", "functions", "function_call", "parallel_tool_calls"].includes(key)
        )
        ? `has ${unknown.join(", ")}; tool calls cannot be trained on yet. Leave these rows out.`
        : `has unknown fields: ${unknown.join(", ")}. Known are messages and metadata.`;
    }
    return inspectMessages(row.messages);
  }
  if ("prompt" in row || "completion" in row) {
    for (const key of ["prompt", "completion"]) {
      if (typeof row[key] !== "string" || row[key] === "") return `${key} must be a text that is not empty.`;
    }
    const unknown = Object.keys(row).filter((key) => key !== "prompt" && key !== "completion");
    if (unknown.length > 0) {
      return `has unknown fields: ${unknown.join(", ")}. Known are prompt and completion.`;
    }
    return { format: "prompt_completion", learned: 1 };
  }
  return `has no known format. Each line must be ${formats}`;
}

function inspectMessages(messages: unknown): { format: "chat"; learned: number } | string {
  if (!Array.isArray(messages) || messages.length === 0) return "messages must be a list that is not empty.";
  let learned = 0;
  for (const [i, message] of messages.entries()) {
    const at = `messages[${i}]`;
    if (!isObject(message)) return `${at} must be an object with role and content.`;
    const { role, content, weight } = message;
    if (role !== "system" && role !== "user" && role !== "assistant") {
      return role === "tool" || role === "function"
        ? `${at}.role is ${JSON.stringify(role)}; tool calls cannot be trained on yet. Leave these rows out.`
        : `${at}.role is ${JSON.stringify(role)}; it must be system, user or assistant.`;
    }
    const unknown = Object.keys(message).filter((key) =>
      !["role", "content", "name", "weight"].includes(key)
    );
    if (unknown.length > 0) return `${at} has unknown fields: ${unknown.join(", ")}.`;
    if (!hasText(content)) return `${at}.content must be a text that is not empty, or a list of text parts.`;
    if (weight !== undefined && (role !== "assistant" || (weight !== 0 && weight !== 1))) {
      return `${at}.weight is ${JSON.stringify(weight)}; it must be 0 or 1, on an assistant's message.`;
    }
    if (role === "assistant" && weight !== 0) learned += 1;
  }
  return learned > 0
    ? { format: "chat", learned }
    : "has no assistant message to learn from. Add one, or give one a weight other than 0.";
}

function hasText(content: unknown): boolean {
  if (typeof content === "string") return content.trim() !== "";
  return Array.isArray(content) && content.length > 0 &&
    content.every((part) =>
      isObject(part) && part.type === "text" && typeof part.text === "string" && part.text !== ""
    );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
