/** Printing: results go to stdout, everything else to stderr. */
import process from "node:process";
import colors from "picocolors";

/** Disables colors if the stream is not a terminal or NO_COLOR is set. */
const wantsColor = (stream: { isTTY?: boolean }) => Boolean(stream.isTTY) && !process.env.NO_COLOR;
export const stdoutColors = colors.createColors(wantsColor(process.stdout));
export const stderrColors = colors.createColors(wantsColor(process.stderr));

/** Prints a line of the result on stdout. */
export function print(text = ""): void {
  process.stdout.write(`${text}\n`);
}

/** Prints a message on stderr. */
export function printNote(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Prints an API object unchanged; `compact` on one line, for streams. */
export function printJson(value: unknown, compact = false): void {
  print(JSON.stringify(value, null, compact ? undefined : 2));
}

/** Prints rows in columns; the first row is the heading. The last column is not padded. */
export function printTable(rows: string[][]): void {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => widths[i] = Math.max(widths[i] ?? 0, cell.length));
  }
  rows.forEach((row, index) => {
    const line = row.map((cell, i) => i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)).join("  ")
      .trimEnd();
    print(index === 0 ? stdoutColors.dim(line) : line);
  });
}

/** Prints one name and value per line, omitting empty values. */
export function printFields(fields: [string, string | null | undefined][]): void {
  const present = fields.filter((field): field is [string, string] =>
    field[1] !== null && field[1] !== undefined && field[1] !== ""
  );
  const width = Math.max(...present.map(([name]) => name.length));
  for (const [name, value] of present) {
    print(`  ${stdoutColors.dim(name.padEnd(width))}  ${value}`);
  }
}
