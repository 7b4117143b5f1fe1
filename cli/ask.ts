/** Questions at a terminal. They go to stderr, so that stdout holds results alone. */
import { createInterface } from "node:readline";
import process from "node:process";
import { Writable } from "node:stream";
import { CliError, exits } from "./errors.ts";

/** Whether somebody can be asked. */
export const canAsk = (): boolean => Boolean(process.stdin.isTTY);

/** Asks for a line; `hidden` shows nothing of what is typed. */
export function ask(question: string, hidden = false): Promise<string> {
  let silent = false;
  const output = new Writable({
    write(chunk, _encoding, done) {
      if (!silent) process.stderr.write(chunk);
      done();
    },
  });
  const lines = createInterface({ input: process.stdin, output, terminal: true });
  return new Promise((resolve, reject) => {
    lines.on("SIGINT", () => {
      lines.close();
      reject(new CliError("", exits.detached));
    });
    lines.question(question, (answer) => {
      lines.close();
      if (hidden) process.stderr.write("\n");
      resolve(answer.trim());
    });
    silent = hidden;
  });
}

/** A yes or no; no unless said. */
export async function confirm(question: string): Promise<boolean> {
  return /^y(es)?$/i.test(await ask(`${question} [y/N] `));
}

/** The first line of what is piped in. */
export async function firstLine(): Promise<string> {
  let text = "";
  for await (const chunk of process.stdin) {
    text += String(chunk);
    if (text.includes("\n")) break;
  }
  return text.split("\n")[0]?.trim() ?? "";
}
