/** Rows of a data file as prompts: the messages before the last answer, and that answer. */
import { useQuery } from "@tanstack/preact-query";
import type { ChatMessage } from "../../../../client/chat_stream.ts";
import { readProblem } from "../../../../client/mod.ts";
import { isObject } from "../../../../supabase/functions/_shared/datasets/report.ts";
import { authHeaders, getServices } from "../../lib/services.ts";
import type { ApiFile } from "../../lib/types.ts";
import { answerText } from "./tool_calls.ts";

export interface PromptRow {
  /** 1 is the file's first row. */
  number: number;
  messages: ChatMessage[];
  /** The row's own tools. */
  tools: unknown[] | null;
  /** The answer to the messages; null if the row has none. */
  expected: string | null;
}

export interface PickedRow {
  file: { id: string; name: string };
  row: PromptRow;
}

/** Enough to judge a model; more would make a long list and a large download. */
export const maxRows = 200;

/** The file's first rows. */
export const useRows = (file: ApiFile | undefined) =>
  useQuery({
    queryKey: ["rows", file?.id],
    enabled: file !== undefined,
    staleTime: Infinity,
    queryFn: ({ signal }) => {
      if (file === undefined) throw new Error("No file is chosen.");
      return fetchRows(file, signal);
    },
  });

/** The row after a picked one, if the file's rows are loaded. */
export function useNextRow(picked: PickedRow | null): PickedRow | null {
  const rows = useQuery<PromptRow[]>({
    queryKey: ["rows", picked?.file.id],
    enabled: false,
  });
  const row = rows.data?.find(({ number }) => number > (picked?.row.number ?? Infinity));
  return picked === null || row === undefined ? null : { file: picked.file, row };
}

async function fetchRows(
  file: ApiFile,
  signal: AbortSignal,
): Promise<PromptRow[]> {
  if (file.source_format?.endsWith("_parquet")) {
    throw new Error(
      "The playground cannot read Parquet files. Choose another file.",
    );
  }
  const controller = new AbortController();
  signal.addEventListener("abort", () => controller.abort());
  const response = await fetch(
    `${getServices().config.apiUrl}/files/${file.id}/content`,
    {
      headers: await authHeaders(),
      signal: controller.signal,
    },
  );
  if (!response.ok || response.body === null) throw await readProblem(response);
  try {
    const lines = file.source_format === null
      ? await readLines(await unzip(response.body))
      : await convertRows(await unzip(response.body));
    return lines.flatMap((line, n) => toPromptRow(line, n + 1) ?? []);
  } finally {
    controller.abort(); // the rest of the file is not needed
  }
}

/** Decompresses a gzip file. */
async function unzip(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const [head, whole] = body.tee();
  const reader = head.getReader();
  const { value } = await reader.read();
  void reader.cancel();
  const isGzip = value?.[0] === 0x1f && value[1] === 0x8b;
  return isGzip ? whole.pipeThrough(new DecompressionStream("gzip")) : whole;
}

/** The first lines that are not blank. */
async function readLines(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
): Promise<string[]> {
  const lines: string[] = [];
  let rest = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts.filter((line) => line.trim() !== ""));
    if (lines.length >= maxRows) return lines.slice(0, maxRows);
  }
  return rest.trim() === "" ? lines : [...lines, rest];
}

/** The first rows of a CSV file or a file in another tool's format, converted like on the server. */
async function convertRows(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
): Promise<string[]> {
  const { Validator } = await import(
    "../../../../supabase/functions/_shared/datasets/validator.ts"
  );
  const lines: string[] = [];
  const decoder = new TextDecoder();
  const validator = new Validator({
    output: (line) => lines.push(decoder.decode(line)),
  });
  for await (const chunk of body) {
    validator.push(chunk);
    if (lines.length >= maxRows) return lines.slice(0, maxRows);
  }
  validator.end();
  return lines;
}

/** Reads a chat or a preference row; null if it has no prompt. */
export function toPromptRow(line: string, number: number): PromptRow | null {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return null; // an invalid row, which is not trained on either
  }
  if (!isObject(row)) return null;
  const input = isObject(row.input) ? row.input : row;
  if (!Array.isArray(input.messages)) return null;
  const all = input.messages.flatMap((message: unknown) => isObject(message) ? [message] : []);
  const preferred: unknown = Array.isArray(row.preferred_output) ? row.preferred_output[0] : undefined;
  const last = preferred === undefined ? all.findLastIndex(({ role }) => role === "assistant") : all.length;
  const answer = preferred === undefined ? all[last] : preferred;
  const messages = toMessages(last < 0 ? all : all.slice(0, last));
  if (messages.length === 0) return null;
  return {
    number,
    messages,
    tools: Array.isArray(input.tools) && input.tools.length > 0 ? input.tools : null,
    expected: isObject(answer) ? answerText(contentText(answer.content), readCalls(answer.tool_calls)) : null,
  };
}

/** Chat messages for the playground. Skips anything else. */
export const toMessages = (messages: readonly unknown[]): ChatMessage[] =>
  messages.flatMap((message) => isObject(message) ? toMessage(message) ?? [] : []);

function toMessage(message: Record<string, unknown>): ChatMessage | null {
  const { role, tool_call_id } = message;
  const content = contentText(message.content);
  if (role === "system" || role === "developer") {
    return { role: "system", content };
  }
  if (role === "user") return { role, content };
  if (role === "tool") {
    return {
      role,
      content,
      tool_call_id: typeof tool_call_id === "string" ? tool_call_id : "",
    };
  }
  if (role !== "assistant") return null;
  const calls = readCalls(message.tool_calls);
  return {
    role,
    content: content === "" && calls.length > 0 ? null : content,
    ...(calls.length === 0 ? {} : {
      tool_calls: calls.map(({ id, name, arguments: text }) => ({
        id,
        type: "function",
        function: { name, arguments: text },
      })),
    }),
  };
}

/** Content is text, or a list of parts with text. */
function contentText(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part: unknown) => isObject(part) && typeof part.text === "string" ? part.text : "")
    .join("");
}

function readCalls(
  calls: unknown,
): { id: string; name: string; arguments: string }[] {
  if (!Array.isArray(calls)) return [];
  return calls.flatMap((call: unknown) => {
    if (!isObject(call) || !isObject(call.function)) return [];
    const { name, arguments: text } = call.function;
    return [{
      id: typeof call.id === "string" ? call.id : "",
      name: typeof name === "string" ? name : "",
      arguments: typeof text === "string" ? text : JSON.stringify(text ?? {}),
    }];
  });
}
