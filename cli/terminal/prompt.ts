/** Prompts. They are written to stderr, so that stdout holds only results. */
import { createInterface } from "node:readline";
import process from "node:process";
import { Writable } from "node:stream";
import { CliError, exitCodes } from "../errors.ts";

/** Whether the user can answer a prompt. */
export const isInteractive = (): boolean => Boolean(process.stdin.isTTY);

/** Asks for a line; `hidden` does not echo what is typed. */
export function ask(question: string, hidden = false): Promise<string> {
  let isMuted = false;
  const output = new Writable({
    write(chunk, _encoding, done) {
      if (!isMuted) process.stderr.write(chunk);
      done();
    },
  });
  const lines = createInterface({ input: process.stdin, output, terminal: true });
  return new Promise((resolve, reject) => {
    lines.on("SIGINT", () => {
      lines.close();
      reject(new CliError("", exitCodes.interrupted));
    });
    lines.question(question, (answer) => {
      lines.close();
      if (hidden) process.stderr.write("\n");
      resolve(answer.trim());
    });
    isMuted = hidden;
  });
}

/** Asks a yes-or-no question; the default is no. */
export async function confirm(question: string): Promise<boolean> {
  return /^y(es)?$/i.test(await ask(`${question} [y/N] `));
}

/** The first line of piped input. */
export async function readFirstLine(): Promise<string> {
  let text = "";
  for await (const chunk of process.stdin) {
    text += String(chunk);
    if (text.includes("\n")) break;
  }
  return text.split("\n")[0]?.trim() ?? "";
}
