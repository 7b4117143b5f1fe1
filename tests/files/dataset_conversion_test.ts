/** Files in other tools' formats: the resulting rows, and the errors for rows that cannot be converted. No server. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { type DatasetReport, sentence } from "../../supabase/functions/_shared/datasets/report.ts";
import { nearMiss } from "../../supabase/functions/_shared/datasets/convert/near_miss.ts";
import {
  validate,
  Validator,
  type ValidatorState,
} from "../../supabase/functions/_shared/datasets/validator.ts";

const utf8 = new TextEncoder();

interface Converted {
  report: DatasetReport;
  rows: string[];
  conversion: Validator["conversion"];
}

/** Validates and converts a file in chunks of `size` bytes; with `resume`, with a JSON round trip of the state after each. */
function convert(file: string | Uint8Array, size = Infinity, resume = false): Converted {
  const bytes = typeof file === "string" ? utf8.encode(file) : file;
  const rows: string[] = [];
  const output = (line: Uint8Array) => void rows.push(new TextDecoder().decode(line).replace(/\n$/, ""));
  let validator = new Validator({ output });
  let at = 0;
  while (at < bytes.length && !validator.stopped) {
    const before = validator.offset;
    do validator.push(bytes.subarray(at, at += size)); while (
      resume && at < bytes.length && validator.offset === before && !validator.stopped
    );
    if (!resume || at >= bytes.length || validator.stopped) continue;
    const state: ValidatorState = JSON.parse(JSON.stringify(validator.state()));
    at = validator.offset;
    validator = new Validator({ output, state });
  }
  return { report: validator.end(), rows, conversion: validator.conversion };
}

const user = (content: string) => ({ role: "user", content });
const assistant = (content: string) => ({ role: "assistant", content });
const chat = (...messages: unknown[]) => ({ messages });
const preference = (messages: unknown[], better: string, worse: string) => ({
  input: { messages },
  preferred_output: [assistant(better)],
  non_preferred_output: [assistant(worse)],
});
const lines = (...rows: unknown[]) => rows.map((row) => JSON.stringify(row)).join("\n");

/** A file, its detected format, and the resulting rows. */
const cases: [what: string, file: string, format: string, rows: unknown[]][] = [
  [
    "Alpaca, with and without an input",
    lines({ instruction: "a", input: "", output: "b" }, { instruction: "c", input: "d", output: "e" }),
    "alpaca_jsonl",
    [chat(user("a"), assistant("b")), chat(user("c\n\nd"), assistant("e"))],
  ],
  [
    "Alpaca with a system prompt and history",
    lines({ instruction: "c", output: "d", system: "s", history: [["a", "b"]] }),
    "alpaca_jsonl",
    [chat({ role: "system", content: "s" }, user("a"), assistant("b"), user("c"), assistant("d"))],
  ],
  [
    "ShareGPT",
    lines({
      id: "1",
      conversations: [
        { from: "system", value: "s" },
        { from: "human", value: "a" },
        { from: "gpt", value: "b" },
      ],
    }),
    "sharegpt_jsonl",
    [chat({ role: "system", content: "s" }, user("a"), assistant("b"))],
  ],
  [
    "ShareGPT with a call and its observation",
    lines({
      conversations: [
        { from: "human", value: "a" },
        { from: "Function_Call", value: '{"name": "weather", "arguments": {"city": "Oslo"}}' },
        { from: "observation", value: "rain" },
        { from: "gpt", value: "b" },
      ],
      tools: '[{"name": "weather", "parameters": {"type": "object"}}]',
    }),
    "sharegpt_jsonl",
    [{
      messages: [
        user("a"),
        {
          role: "assistant",
          content: null,
          tool_calls: [{
            id: "call_1",
            type: "function",
            function: { name: "weather", arguments: '{"city":"Oslo"}' },
          }],
        },
        { role: "tool", tool_call_id: "call_1", content: "rain" },
        assistant("b"),
      ],
      tools: [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }],
    }],
  ],
  [
    "ShareGPT preferences",
    lines({
      conversations: [{ from: "human", value: "a" }],
      chosen: { from: "gpt", value: "b" },
      rejected: { from: "gpt", value: "c" },
    }),
    "sharegpt_jsonl",
    [preference([user("a")], "b", "c")],
  ],
  [
    "prompt, chosen and rejected as texts",
    lines({ prompt: "a", chosen: "b", rejected: "c" }),
    "chosen_rejected_jsonl",
    [preference([user("a")], "b", "c")],
  ],
  [
    "prompt, chosen and rejected as messages",
    lines({ prompt: [user("a")], chosen: [assistant("b")], rejected: [assistant("c")] }),
    "chosen_rejected_jsonl",
    [preference([user("a")], "b", "c")],
  ],
  [
    "chosen and rejected that hold the conversation, with the prompt and without",
    lines(
      { prompt: "a", chosen: [user("a"), assistant("b")], rejected: [user("a"), assistant("c")] },
      { chosen: [user("d"), assistant("e")], rejected: [user("d"), assistant("f")] },
    ),
    "chosen_rejected_jsonl",
    [preference([user("a")], "b", "c"), preference([user("d")], "e", "f")],
  ],
  [
    "chosen and rejected that are the same",
    lines({ prompt: "a", chosen: "b", rejected: "c" }, { prompt: "d", chosen: "e", rejected: "e" }),
    "chosen_rejected_jsonl",
    [preference([user("a")], "b", "c"), preference([user("d")], "e", "e")],
  ],
  [
    "prompt and completion as texts, with a system prompt and without",
    lines(
      { prompt: "a\n", completion: " b" },
      { id: 7, prompt: "c", completion: "d", system: "s" },
    ),
    "prompt_completion_jsonl",
    [chat(user("a\n"), assistant(" b")), chat({ role: "system", content: "s" }, user("c"), assistant("d"))],
  ],
  [
    "prompt and completion whose texts are JSON of messages",
    lines({ prompt: JSON.stringify([user("a")]), completion: JSON.stringify([assistant("b")]) }),
    "prompt_completion_jsonl",
    [chat(user(JSON.stringify([user("a")])), assistant(JSON.stringify([assistant("b")])))],
  ],
  [
    "prompt, chosen and rejected whose texts are JSON of messages",
    lines({ prompt: "a", chosen: JSON.stringify(assistant("b")), rejected: "c" }),
    "chosen_rejected_jsonl",
    [preference([user("a")], JSON.stringify(assistant("b")), "c")],
  ],
  [
    "CSV whose prompts and completions are JSON of messages",
    `prompt,completion\n"${JSON.stringify([user("a")]).replaceAll('"', '""')}",b\n`,
    "prompt_completion_csv",
    [chat(user("a"), assistant("b"))],
  ],
  [
    "prompt and completion as messages",
    lines({ prompt: [user("a")], completion: [assistant("b")] }),
    "prompt_completion_jsonl",
    [chat(user("a"), assistant("b"))],
  ],
  ["an array of chats", JSON.stringify([chat(user("a"), assistant("b"))], null, 2), "chat_json", [
    chat(user("a"), assistant("b")),
  ]],
  [
    "an array of preferences",
    JSON.stringify([preference([user("a")], "b", "c"), preference([user("d")], "e", "f")]),
    "preference_json",
    [preference([user("a")], "b", "c"), preference([user("d")], "e", "f")],
  ],
  [
    "an array of prompts and completions",
    JSON.stringify([{ prompt: "a", completion: "b" }]),
    "prompt_completion_json",
    [chat(user("a"), assistant("b"))],
  ],
  [
    "an array of brightrun rows, whose history is not trained on",
    JSON.stringify([{
      system_prompt: "s",
      conversation_history: [user("a"), assistant("b"), user("c")],
      current_user_input: "c",
      target_response: "d",
    }]),
    "brightrun-lora-v4_json",
    [chat(
      { role: "system", content: "s" },
      user("a"),
      { ...assistant("b"), weight: 0 },
      user("c"),
      assistant("d"),
    )],
  ],
  [
    "CSV with quotes, commas and line breaks",
    'Prompt,Completion\r\n"a, ""quoted""\nand more",b\r\n"",""\r\nc,d\r\n',
    "prompt_completion_csv",
    [chat(user('a, "quoted"\nand more'), assistant("b")), chat(user("c"), assistant("d"))],
  ],
  ["CSV with semicolons and a byte order mark", "\ufeffinstruction;input;output\na;b;c", "alpaca_csv", [
    chat(user("a\n\nb"), assistant("c")),
  ]],
  [
    "TSV with quotes inside a text",
    'prompt\tchosen\trejected\n5" pipe\tb\tc\n',
    "chosen_rejected_tsv",
    [preference([user('5" pipe')], "b", "c")],
  ],
  [
    "CSV whose messages are JSON",
    `id,messages\n1,"${JSON.stringify([user("a"), assistant("b")]).replaceAll('"', '""')}"\n`,
    "chat_csv",
    [chat(user("a"), assistant("b"))],
  ],
];

for (const [what, file, format, expected] of cases) {
  Deno.test(`${what} are converted to valid canonical rows`, () => {
    const { report, rows, conversion } = convert(file);
    assertEquals(report.errors, []);
    assertEquals(rows.map((row) => JSON.parse(row)), expected);
    assertEquals(conversion?.source_format, format);
    assertEquals([conversion?.rows, report.rows], [expected.length, expected.length]);
    assertEquals(conversion?.sample[0]?.after, rows[0]);
    assertEquals(validate(utf8.encode(rows.join("\n"))).errors, []);
    for (const resume of [false, true]) {
      for (const size of [1, 2, 7]) {
        assertEquals(convert(file, size, resume), convert(file), `${size} ${resume}`);
      }
    }
  });
}

Deno.test("canonical files are not converted: training uses their bytes", () => {
  for (
    const row of [
      chat(user("a"), assistant("b")),
      preference([user("a")], "b", "c"),
    ]
  ) {
    const { report, rows, conversion } = convert(lines(row, row));
    assertEquals([report.errors, rows, conversion], [[], [], null]);
  }
});

Deno.test("numbers and strings of a row in an array keep their spelling", () => {
  const tools =
    '[{"type":"function","function":{"name":"f","parameters":{"maximum":12345678901234567890.10}}}]';
  const row =
    `{"messages":[{"role":"user","content":"a\\u00e9\\n"},{"role":"assistant","content":"b"}],"tools":${tools}}`;
  assertEquals(convert(`[${row}]`).rows, [row]);
  assertEquals(convert(`[{"messages":\r\n${row.slice(12)}]`).rows, [`{"messages": ${row.slice(12)}`]);
});

Deno.test("ignored fields are reported", () => {
  const { conversion } = convert(lines(
    { id: 1, instruction: "a", output: "b", text: "…" },
    { id: 2, instruction: "a", output: "b", source: "x", note: null },
  ));
  assertEquals(conversion?.ignored_fields, ["id", "text", "source"]);
});

Deno.test("brightrun pairs without a target are skipped, and the header is not a row", () => {
  const pair = { system_prompt: " ", current_user_input: "a", target_response: "b", id: "r1" };
  const pairs = [pair, { ...pair, target_response: null }, { current_user_input: "c", target_response: "d" }];
  const meta = { version: "4.0.0", total_pairs: 3 };
  const files = {
    "brightrun-lora-v4_jsonl": lines({ _meta: meta }, ...pairs),
    "brightrun-lora-v4_json": JSON.stringify({
      training_file_metadata: meta,
      conversations: [{ training_pairs: pairs.slice(0, 2) }, { training_pairs: pairs.slice(2) }],
    }),
  };
  for (const [format, file] of Object.entries(files)) {
    const { report, rows, conversion } = convert(file);
    assertEquals(rows.map((row) => JSON.parse(row)), [
      chat(user("a"), assistant("b")),
      chat(user("c"), assistant("d")),
    ]);
    assertEquals([conversion?.source_format, conversion?.rows, conversion?.ignored_fields], [format, 2, [
      "id",
    ]]);
    assertEquals(
      [report.rows, report.trainable_rows, report.rows_without_labels, report.problems],
      [3, 2, 1, { no_labels: 1 }],
    );
    for (const size of [1, 7]) assertEquals(convert(file, size, true), convert(file));
  }
});

/** A file, and the line, code and part of the message of its first error. */
const refusals: [what: string, file: string, line: number | null, code: string, part: string][] = [
  [
    "an empty prompt",
    lines({ prompt: "", completion: "b" }),
    1,
    "source_field",
    "prompt is missing. Give prompt and completion",
  ],
  ["a blank completion", lines({ prompt: "a", completion: "\n" }), 1, "source_field", "completion is blank"],
  [
    "a completion that is a number",
    lines({ prompt: "a", completion: 1 }),
    1,
    "source_field",
    "completion is 1, but must be a string",
  ],
  ["a misspelled completion", lines({ prompt: "a", completon: "b" }), 1, "unknown_field", "Did you mean"],
  [
    "half of a character in a prompt",
    '{"prompt":"\\ud83d","completion":"b"}',
    1,
    "lone_surrogate",
    "prompt contains a lone surrogate",
  ],
  [
    "chats among prompts and completions",
    lines({ prompt: "a", completion: "b" }, chat(user("a"), assistant("b"))),
    2,
    "mixed_formats",
    "is a chat row, but the previous rows are prompt_completion",
  ],
  [
    "Alpaca rows among chats",
    lines(chat(user("a"), assistant("b")), { instruction: "a", output: "b" }),
    2,
    "mixed_formats",
    "is an alpaca row, but the previous rows are chat",
  ],
  [
    "a history with a system turn",
    lines({
      conversation_history: [{ role: "system", content: "s" }],
      current_user_input: "a",
      target_response: "b",
    }),
    1,
    "source_field",
    'conversation_history[0] is {"role":"system","content":"s"}. Each turn has the role user or assistant',
  ],
  [
    "an output that is missing",
    lines({ instruction: "a", output: "b" }, { instruction: "a" }),
    2,
    "source_field",
    "output is missing",
  ],
  [
    "an output that is a number",
    lines({ instruction: "a", output: "b" }, { instruction: "a", output: 3 }),
    2,
    "source_field",
    "output is 3, but must be a string",
  ],
  [
    "a misspelled output",
    lines({ instruction: "a", output: "b" }, { instruction: "a", ouput: "b" }),
    2,
    "unknown_field",
    'Did you mean "output"?',
  ],
  [
    "an unknown speaker",
    lines({ conversations: [{ from: "humna", value: "a" }] }),
    1,
    "source_field",
    'conversations[0].from is "humna". It must be human, gpt or system (or function_call, observation). Did you mean "human"?',
  ],
  [
    "a speaker that is a property of every object",
    lines({ conversations: [{ from: "constructor", value: "a" }] }),
    1,
    "source_field",
    'conversations[0].from is "constructor"',
  ],
  [
    "an observation without a call",
    lines({ conversations: [{ from: "observation", value: "a" }] }),
    1,
    "source_field",
    "answers no function_call",
  ],
  [
    "answers to two conversations",
    lines({ chosen: [user("a"), assistant("b")], rejected: [user("c"), assistant("d")] }),
    1,
    "source_field",
    "differs from chosen in more than the last message",
  ],
  [
    "a dialogue as one string",
    lines({ chosen: "\n\nHuman: a\n\nAssistant: b", rejected: "\n\nHuman: a\n\nAssistant: c" }),
    1,
    "source_field",
    "holds a whole dialogue as one string",
  ],
  [
    "a record with an extra field",
    "prompt,completion\na,b\nc, d, e\n",
    3,
    "csv",
    "has 3 fields, but the header has 2",
  ],
  ["a quote that does not close", 'prompt,completion\na,"b\n', 2, "csv", "has an unterminated quoted field"],
  ["a backslash before a quote", 'prompt,completion\na,"b\\"c"\nd,e', 2, "csv", "after a quoted field"],
  ["a column twice", "prompt,prompt,completion\na,b,c", 1, "csv", 'has a duplicate column "prompt"'],
  [
    "columns of an unknown format",
    "promt,answer\na,b\nc,d\n",
    null,
    "unknown_format",
    'has an unknown format: its columns are "promt", "answer". Rename the columns. Supported formats:',
  ],
  ["a misspelled column", "promt,answer\na,b\n", null, "unknown_format", 'Did you mean "prompt"?'],
  ["messages that are not JSON", "messages,x\nhello,1", 1 + 1, "source_field", "messages is not JSON"],
  ["messages that are misspelled", lines({ message: [] }), 1, "unknown_format", 'Did you mean "messages"?'],
  ["an array that is cut off", '[{"prompt":"a","completion":"b"},', 2, "truncated", "in the middle of a row"],
  [
    "an array without commas",
    '[{"prompt":"a","completion":"b"} {"prompt"',
    null,
    "not_json",
    "follows item 1",
  ],
  [
    "lists of messages on lines",
    `${lines([user("a"), assistant("b")], [user("c")])}`,
    null,
    "not_json",
    '{"messages": […]}',
  ],
  [
    "a key twice",
    '[{"prompt":"a","prompt":"b","completion":"c"}]',
    1,
    "duplicate_key",
    'duplicate key "prompt"',
  ],
  ["a number that is too large", '[{"prompt":"a","completion":"b","id":1e999}]', 1, "not_json", "too large"],
];
for (const [what, file, line, code, part] of refusals) {
  Deno.test(`rejects a file with ${what}: ${code}`, () => {
    const { report } = convert(file);
    const found = report.errors.find((error) => error.code === code);
    assert(found, JSON.stringify(report.errors));
    assertStringIncludes(sentence(found), part);
    assertEquals(found.line, line);
    for (const resume of [false, true]) assertEquals(convert(file, 1, resume).report, report);
  });
}

Deno.test("misspelled names are recognized, and other names are not", () => {
  const known = ["messages", "prompt", "completion", "input", "output", "role", "content"];
  for (
    const [given, meant] of [
      ["message", "messages"],
      ["Messages ", "messages"],
      ["mesages", "messages"],
      ["promt", "prompt"],
      ["pormpt", "prompt"],
      ["complettion", "completion"],
      ["rol", "role"],
      ["messages", null],
      ["metadata", null],
      ["answer", null],
      ["", null],
      ["x".repeat(5000), null],
    ] as const
  ) assertEquals(nearMiss(given, known), meant, given);
});

/** Small, fast and deterministic. */
function random(seed: number): () => number {
  return () => {
    seed = Math.imul(seed ^ seed >>> 15, seed | 1) + 0x6d2b79f5 | 0;
    return ((seed ^ seed >>> 14) >>> 0) / 2 ** 32;
  };
}

Deno.test("random files in every format keep all rows in order, for any chunking", () => {
  const next = random(11);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const pieces = ["a", "é", "😀", '"', ",", ";", "\t", "\n", "\r\n", "\\", "{", "]", " ", "'", "0", "\u2028"];
  let row = 0;
  const text = () =>
    `${row++}:${Array.from({ length: Math.floor(next() * 12) }, () => pick(pieces)).join("")}.`;
  const quoted = (cell: string, delimiter: string) =>
    cell.includes('"') || cell.includes(delimiter) || /[\r\n]/.test(cell) || next() < 0.3
      ? `"${cell.replaceAll('"', '""')}"`
      : cell;
  const table = (delimiter: string, end: string) => (columns: string[], rows: string[][]) =>
    [columns, ...rows].map((cells) => cells.map((cell) => quoted(cell, delimiter)).join(delimiter) + end)
      .join("");
  const objects = (columns: string[], rows: string[][]) =>
    rows.map((cells) => Object.fromEntries(columns.map((column, i) => [column, cells[i]])));
  const containers = [
    table(",", "\n"),
    table(";", "\r\n"),
    table("\t", "\n"),
    (columns: string[], rows: string[][]) => JSON.stringify(objects(columns, rows), null, pick([0, 2])),
    (columns: string[], rows: string[][]) =>
      objects(columns, rows).map((one) => JSON.stringify(one) + "\n").join(""),
  ];
  const formats = [["prompt", "chosen", "rejected"], ["instruction", "input", "output"], [
    "prompt",
    "completion",
  ]];
  for (let round = 0; round < 300; round++) {
    const columns = pick(formats);
    const rows = Array.from({ length: 1 + Math.floor(next() * 5) }, () => columns.map(text));
    const file = pick(containers)(columns, rows);
    const whole = convert(file);
    assertEquals(whole.report.errors, [], file);
    assertEquals(whole.report.rows, rows.length, file);
    if (whole.conversion !== null) {
      assertEquals(whole.rows.length, rows.length);
      for (const [i, cells] of rows.entries()) {
        const made: unknown = JSON.parse(whole.rows[i] ?? "");
        for (const cell of cells) {
          assert(JSON.stringify(made).includes(JSON.stringify(cell).slice(1, -1)), file);
        }
      }
      assertEquals(validate(utf8.encode(whole.rows.join("\n"))).errors, []);
    }
    const size = 1 + Math.floor(next() * 40);
    assertEquals(convert(file, size), whole, file);
    assertEquals(convert(file, size, true), whole, file);
  }
});

Deno.test("a row over 4 MiB is skipped without buffering, and later rows are read", () => {
  const long = "x".repeat(5e6);
  const files = [
    `prompt,completion\na,b\n"${long}\n",b\nc,d\n`,
    JSON.stringify([{ prompt: "a", completion: "b" }, { prompt: long, completion: "b" }, {
      prompt: "c",
      completion: "d",
    }]),
  ];
  for (const file of files) {
    for (const [size, resume] of [[Infinity, false], [100_000, true]] as const) {
      const { report, rows } = convert(file, size, resume);
      assertEquals([report.rows, rows.length, report.problems], [3, 2, { line_too_long: 1 }]);
    }
  }
  // Short before its conversion but too long afterwards: the trainer would reject the line.
  const grown = convert(`prompt\tcompletion\n${'"'.repeat(3e6)}x\tb\n`.replace('\n"', '\nx"'));
  assertEquals(grown.report.problems, { line_too_long: 1 });
});

Deno.test("rejects an array that is nested too deeply", () => {
  const { report } = convert(`[{"prompt":${"[".repeat(5000)}${"]".repeat(5000)}}]`);
  assertEquals(report.errors.map(({ line, code }) => [line, code]), [[1, "too_deep"]]);
});
