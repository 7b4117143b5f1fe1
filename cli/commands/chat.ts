/** `chat`: talk to a model, and compare a fine-tuned model with its base. */
import { readFile } from "node:fs/promises";
import process from "node:process";
import { createInterface } from "node:readline/promises";
import type { ChatAnswer, ChatMessage, ToolCall } from "../../client/chat_stream.ts";
import { type ChatSettings, Conversation } from "../chat/conversation.ts";
import { findBase, resolveModel } from "../api/models.ts";
import { openSession } from "../api/session.ts";
import { addCommand, addExamples, type Command, parseInteger, parseTemperature } from "../command.ts";
import { CliError, exitCodes, formatError } from "../errors.ts";
import { formatDuration } from "../terminal/format.ts";
import { print, printJson, printNote, stderrColors, stdoutColors } from "../terminal/output.ts";
import { isInteractive } from "../terminal/prompt.ts";
import { withAbortOnSigint } from "../terminal/sigint.ts";
import { StatusLine } from "../terminal/status_line.ts";
import { displayName, isStdin } from "../transfers/stdin_file.ts";

interface ChatOptions {
  json?: boolean;
  base?: boolean;
  system?: string;
  temperature?: number;
  maxTokens?: number;
  tools?: string;
}

export function addChat(program: Command): void {
  const command = addCommand(
    program,
    "chat <model> [message]",
    "Chat with a model; without a message, reads stdin or starts a conversation",
  )
    .option("--base", "also ask the base model, to compare the answers")
    .option("--system <text>", "system prompt")
    .option("--temperature <n>", "0 always picks the most likely token", parseTemperature)
    .option("--max-tokens <n>", "maximum length of an answer", parseInteger(1))
    .option("--tools <path>", "JSON file with an array of tools, or - for stdin")
    .action(chat);
  addExamples(
    command,
    'chat ft:SmolLM2-135M-Instruct:acme:support:0192… "Where is my order?" --base',
    "chat ft:SmolLM2-135M-Instruct:acme:support:0192… --temperature 0",
    "chat latest --base",
    "chat SmolLM2-135M-Instruct - < question.txt",
  );
}

async function chat(name: string, message: string | undefined, options: ChatOptions): Promise<void> {
  if (isStdin(options.tools ?? "") && (message === undefined || isStdin(message))) {
    throw new CliError("--tools - reads stdin: pass the message as an argument.", exitCodes.usage);
  }
  const settings: ChatSettings = {
    ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
    ...(options.maxTokens === undefined ? {} : { max_completion_tokens: options.maxTokens }),
    ...(options.tools === undefined ? {} : { tools: await readTools(options.tools) }),
  };
  const isConversation = message === undefined && isInteractive();
  if (isConversation && options.json) {
    throw new CliError("--json needs a message: pass one, or pipe it to stdin.", exitCodes.usage);
  }
  const text = isConversation
    ? ""
    : message === undefined || message === "-"
    ? (await readStdin()).trimEnd()
    : message;
  if (!isConversation && text.trim() === "") {
    throw new CliError("The message is empty. Pass one, or pipe it to stdin.", exitCodes.usage);
  }
  const session = await openSession();
  const model = await resolveModel(session, name);
  // The base first, so that the fine-tuned model's answer is last.
  const models = options.base ? [await findBase(session, model), model] : [model];
  const conversations = models.map((name) =>
    new Conversation(session, name, settings, options.system ?? null)
  );
  if (isConversation) return await converse(conversations);
  await withAbortOnSigint(async (signal) => {
    try {
      const answers = await ask(
        conversations,
        [{ role: "user", content: text }],
        signal,
        Boolean(options.json),
      );
      if (!options.json) return;
      const results = answers.map(({ content, toolCalls, finishReason, usage }, index) => ({
        model: models[index],
        content,
        tool_calls: toolCalls,
        finish_reason: finishReason,
        usage,
      }));
      printJson(options.base ? results : results[0]);
    } catch (error) {
      if (!signal.aborted) throw error;
      process.exitCode = exitCodes.interrupted;
    }
  });
}

/** Asks all models at once and prints their answers in order, the first one as it arrives. */
async function ask(
  conversations: Conversation[],
  messages: ChatMessage[],
  signal: AbortSignal,
  isQuiet: boolean,
): Promise<ChatAnswer[]> {
  const status = new StatusLine();
  const started = Date.now();
  let loading = false;
  const clock = setInterval(() => {
    if (!loading) return;
    status.show(`Loading the model … ${formatDuration((Date.now() - started) / 1000)}`);
  }, 500);
  /** The index of the answer that is printed as it arrives. */
  let printing = 0;
  let isInLine = false;
  const buffered = conversations.map(() => "");
  const show = (index: number, text: string) => {
    if (isQuiet) return;
    if (index !== printing) {
      buffered[index] += text;
      return;
    }
    loading = false;
    status.show(null);
    process.stdout.write(text);
    isInLine = text === "" ? isInLine : !text.endsWith("\n");
  };
  const title = (index: number) => {
    if (isQuiet || conversations.length === 1) return;
    print(`${index > 0 ? "\n" : ""}${stdoutColors.bold(conversations[index]?.model ?? "")}`);
  };
  const endLine = () => {
    if (isInLine) print();
    isInLine = false;
  };
  try {
    title(0);
    const pending = conversations.map((one, index) =>
      one.send(messages, {
        // Comments also arrive while an answer is slow.
        onLoading: () => loading = index === printing && !isInLine,
        onText: (text) => show(index, text),
      }, signal)
    );
    for (const one of pending) one.catch(() => {}); // reported when it is awaited below
    const answers: ChatAnswer[] = [];
    for (const [index, one] of pending.entries()) {
      printing = index;
      if (index > 0) title(index);
      show(index, buffered[index] ?? "");
      const answer = await one;
      answers.push(answer);
      status.show(null);
      if (isQuiet) continue;
      endLine();
      for (const call of answer.toolCalls) print(stdoutColors.cyan(`→ ${call.name}(${call.arguments})`));
      if (answer.finishReason === "length") printNote(stderrColors.dim("(truncated at the maximum length)"));
    }
    return answers;
  } finally {
    clearInterval(clock);
    status.show(null);
    endLine(); // after an incomplete answer
  }
}

const help = `Type a message, or one of these:
  /system TEXT  set the system prompt (empty: none) and start again
  /reset        start a new conversation
  /exit         leave (or Ctrl-D)
Ctrl-C stops an answer.`;

/** Reads messages and answers them until the user leaves. */
async function converse(conversations: Conversation[]): Promise<void> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  let current = new AbortController();
  let isAnswering = false;
  // readline puts the terminal in raw mode, so Ctrl-C arrives here and not as a signal.
  lines.on("SIGINT", () => isAnswering ? current.abort() : lines.close());
  const closed = new Promise<null>((resolve) => lines.once("close", () => resolve(null)));
  const prompt = (text: string) => Promise.race([lines.question(stderrColors.bold(text)), closed]);
  const [first] = conversations;
  printNote(
    `Chatting with ${conversations.map(({ model }) => model).join(" and ")}. /help lists the commands.`,
  );
  for (;;) {
    const line = await prompt("> ");
    if (line === null || line.trim() === "/exit") break;
    const [, name, rest = ""] = /^\/(\w+)\s*(.*)$/s.exec(line.trim()) ?? [];
    if (name !== undefined) {
      runCommand(conversations, name, rest);
      continue;
    }
    if (line.trim() === "") continue;
    let messages: ChatMessage[] = [{ role: "user", content: line }];
    while (messages.length > 0) {
      current = new AbortController();
      isAnswering = true;
      try {
        const answers = await ask(conversations, messages, current.signal, false);
        isAnswering = false;
        const calls = answers.at(-1)?.toolCalls ?? [];
        // Two models make different calls, so results can be entered for only one conversation.
        messages = first === conversations.at(-1) ? await askForResults(calls, prompt) : [];
      } catch (error) {
        messages = [];
        printNote(
          current.signal.aborted ? "(stopped)" : `${stderrColors.red("error:")} ${formatError(error)}`,
        );
      } finally {
        isAnswering = false;
      }
    }
  }
  lines.close();
}

function runCommand(conversations: Conversation[], name: string, rest: string): void {
  if (name === "help") return printNote(help);
  if (name !== "reset" && name !== "system") return printNote(`Unknown command /${name}.\n${help}`);
  for (const one of conversations) {
    one.reset();
    if (name === "system") one.system = rest === "" ? null : rest;
  }
  printNote(
    name === "system" ? "System prompt set; a new conversation starts." : "A new conversation starts.",
  );
}

/** Prompts for the result of each tool call. An empty result stops. */
async function askForResults(
  calls: ToolCall[],
  prompt: (text: string) => Promise<string | null>,
): Promise<ChatMessage[]> {
  const results: ChatMessage[] = [];
  for (const { id, name } of calls) {
    const result = await prompt(`result of ${name}: `);
    if (result === null || result.trim() === "") return [];
    results.push({ role: "tool", content: result, tool_call_id: id });
  }
  return results;
}

async function readTools(path: string): Promise<unknown[]> {
  const text = isStdin(path) ? await readStdin() : await readFile(path, "utf8");
  let tools: unknown;
  try {
    tools = JSON.parse(text);
  } catch (error) {
    throw new CliError(`${displayName(path)} is not valid JSON: ${formatError(error)}`, exitCodes.usage);
  }
  if (!Array.isArray(tools)) {
    throw new CliError(
      `${
        displayName(path)
      } must be an array of tools, such as [{"type": "function", "function": {"name": "get_order"}}].`,
      exitCodes.usage,
    );
  }
  return tools;
}

async function readStdin(): Promise<string> {
  let text = "";
  process.stdin.setEncoding("utf8");
  for await (const chunk of process.stdin) text += String(chunk);
  return text;
}
