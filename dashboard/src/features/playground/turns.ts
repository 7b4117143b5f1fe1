/** The conversation as data: turns with each column's answers, and the messages that a request sends. */
import { assistantMessage, type ChatMessage, type ToolCall } from "../../../../client/chat_stream.ts";

export interface AnswerError {
  message: string;
  code: string | null;
  requestId: string | null;
}

/** One answer. JSON, because the session stores it. */
export interface Answer {
  /** The model's name in the request. */
  model: string;
  label: string;
  /** `waiting`: no response yet; `loading`: the model is being loaded. */
  state:
    | "waiting"
    | "loading"
    | "streaming"
    | "finished"
    | "stopped"
    | "failed";
  content: string;
  toolCalls: ToolCall[];
  /** What the user entered as the results of the tool calls; null until then. */
  results: string[] | null;
  /** "length": the answer was truncated. */
  finishReason: string | null;
  usage: { prompt_tokens: number; completion_tokens: number } | null;
  /** Unix milliseconds. */
  startedAt: number;
  /** Milliseconds until the first text, and in total. */
  firstTextMs: number | null;
  totalMs: number | null;
  error: AnswerError | null;
}

export interface Turn {
  messages: ChatMessage[];
  /** A picked row's tools, which replace those of the settings. */
  tools: unknown[] | null;
  /** The row that it was picked from: "Row 3 of validation.jsonl". */
  source: string | null;
  expected: string | null;
  /** Starts a new conversation: a row includes all of its earlier messages. */
  startsOver: boolean;
  /** The answers of each compared model; after tool calls, including those that follow the results. */
  columns: Answer[][];
}

export function newAnswer(model: string, label: string): Answer {
  return {
    model,
    label,
    state: "waiting",
    content: "",
    toolCalls: [],
    results: null,
    finishReason: null,
    usage: null,
    startedAt: Date.now(),
    firstTextMs: null,
    totalMs: null,
    error: null,
  };
}

export const isBusy = ({ state }: Answer): boolean =>
  state === "waiting" || state === "loading" || state === "streaming";

/** Whether the answer's tool calls have no results yet. */
export const needsResults = ({ state, toolCalls, results }: Answer): boolean =>
  state === "finished" && toolCalls.length > 0 && results === null;

/** Replaces one answer. Without an `index`, adds it. */
export function setAnswer(
  turns: Turn[],
  at: { turn: number; column: number; index: number },
  change: (answer: Answer | undefined) => Answer,
): Turn[] {
  return turns.map((turn, t) => {
    if (t !== at.turn) return turn;
    // A turn before the comparison began has fewer columns.
    const columns = Array.from(
      { length: Math.max(turn.columns.length, at.column + 1) },
      (_, c) => turn.columns[c] ?? [],
    );
    const answers = [...columns[at.column] ?? []];
    answers[at.index] = change(answers[at.index]);
    columns[at.column] = answers;
    return { ...turn, columns };
  });
}

/** The messages that a column's next request sends before the new ones, and the tools of their row. */
export function history(
  turns: Turn[],
  column: number,
): { messages: ChatMessage[]; tools: unknown[] | null } {
  const current = turns.slice(
    Math.max(0, turns.findLastIndex(({ startsOver }) => startsOver)),
  );
  return {
    messages: current.filter((turn) => isAnswered(turn, column))
      .flatMap((turn) => turnMessages(turn, column)),
    tools: current[0]?.tools ?? null,
  };
}

/** What precedes a turn in its column. */
export function before(
  turns: Turn[],
  turn: number,
  column: number,
): ReturnType<typeof history> {
  const current = turns[turn];
  return current?.startsOver ? { messages: [], tools: current.tools } : history(turns.slice(0, turn), column);
}

/** Omits turns without an answer, because chat templates require alternating roles. */
function isAnswered(turn: Turn, column: number): boolean {
  const last = turn.columns[column]?.at(-1);
  if (last === undefined) return false;
  return (last.state === "finished" && last.toolCalls.length === 0) ||
    (last.state === "stopped" && last.content !== "");
}

/** A turn's messages with the answers so far and the results of their tool calls. */
export function turnMessages(
  turn: Turn,
  column: number,
  answers = turn.columns[column] ?? [],
): ChatMessage[] {
  return [
    ...turn.messages,
    ...answers.flatMap((answer) => [
      assistantMessage(answer),
      ...(answer.results ?? []).map((content, n): ChatMessage => ({
        role: "tool",
        content,
        tool_call_id: answer.toolCalls[n]?.id ?? "",
      })),
    ]),
  ];
}

/** After a reload, marks answers that were still streaming as stopped. */
export const stopAll = (turns: Turn[]): Turn[] =>
  turns.map((turn) => ({
    ...turn,
    columns: turn.columns.map((answers) =>
      answers.map((answer) => isBusy(answer) ? { ...answer, state: "stopped" } : answer)
    ),
  }));
