/** Validation reports of training files, for any chunking. Needs no server: the module is pure. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import * as z from "zod";
import {
  type DatasetReport,
  maxBrokenRows,
  type ProblemCode,
  problemLevels,
  sentence,
} from "../../supabase/functions/_shared/datasets/report.ts";
import {
  validate,
  Validator,
  type ValidatorState,
} from "../../supabase/functions/_shared/datasets/validator.ts";

const everything = { tool_calls: true };
const nothing = { tool_calls: false };
const utf8 = new TextEncoder();
const bytes = (text: string | Uint8Array) => typeof text === "string" ? utf8.encode(text) : text;
const check = (text: string | Uint8Array, reads = everything) => validate(bytes(text), reads);
const user = { role: "user", content: "hi" };
const answer = { role: "assistant", content: "ok" };
const chat = (...messages: unknown[]) => JSON.stringify({ messages });
const row = (text = "hi") => chat({ role: "user", content: text }, answer);
const call = (args: unknown, id = "c1", name = "weather") => ({
  role: "assistant",
  tool_calls: [{ id, type: "function", function: { name, arguments: args } }],
});
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }];
const toolRow = (...messages: unknown[]) => JSON.stringify({ messages, tools });
const allFindings = (report: DatasetReport) => [...report.errors, ...report.warnings];

/** A file, and the code, line and part of the message of its finding; `null`: no finding. */
const cases: [string, string | Uint8Array, null | [ProblemCode, number | null, string]][] = [
  ["chat", row(), null],
  ["Windows line ends and blank lines", `\r\n${row()}\r\n\r\n \t\r\n${row("b")}\r\n`, null],
  ["a byte order mark", `\ufeff${row()}\n`, null],
  ["no line end after the last row", `${row("a")}\n${row("b")}`, null],
  [
    "content as a list of text parts",
    chat({ role: "user", content: [{ type: "text", text: "a" }] }, answer),
    null,
  ],
  [
    "names, weights and metadata",
    `{"messages":[{"role":"user","name":"Ann","content":"a"},{"role":"assistant","content":"b","weight":1}],"metadata":{"a":1}}`,
    null,
  ],
  [
    "null for what is not used",
    chat(user, { ...answer, refusal: null, tool_calls: null, annotations: [] }),
    null,
  ],
  [
    "texts full of quotes, colons and backslashes",
    chat({ role: "user", content: '":" \\": {"a":1,"a":2} \\\\' }, answer),
    null,
  ],
  [
    "an opening quote before a colon, and blanks before colons",
    `{"messages" : [{"role"\t:"user","content":":a"},{"role":"assistant","content":"\\\\"}]}`,
    null,
  ],

  ["nothing", "", ["no_rows", null, "has no rows"]],
  ["only blank lines", "\n \n", ["no_rows", null, "Send one JSON object per line"]],
  ["UTF-16 with its mark", new Uint8Array([0xff, 0xfe, ...[...row()].flatMap((c) => [c.charCodeAt(0), 0])]), [
    "utf16",
    null,
    "Save it as UTF-8",
  ]],
  ["UTF-16 without a mark", new Uint8Array([...row()].flatMap((c) => [0, c.charCodeAt(0)])), [
    "utf16",
    null,
    "UTF-16",
  ]],
  ["a zip archive", new Uint8Array([0x50, 0x4b, 3, 4, 0, 0]), ["not_text", null, "ZIP archive"]],
  ["Parquet", "PAR1....", ["not_text", null, "to_json"]],
  ["bytes that are not UTF-8", new Uint8Array([...bytes(row() + "\n"), 0x22, 0xff, 0x22]), [
    "not_utf8",
    2,
    "is not UTF-8",
  ]],
  ["NUL bytes", `${row()}\n{"messages":\0[]}\n`, ["nul", 2, "contains NUL bytes"]],
  ["a line that is not JSON", `${row()}\n{"messages": [\n${row()}\n`, ["not_json", 2, "is not valid JSON"]],
  ["a pretty-printed array", `[\n${row()},\n${row()}\n]`, null],
  ["an array on one line", `[${row()}]`, null],
  ["an array of texts", `["a", "b"]`, ["not_object", 1, "must be a JSON object"]],
  ["a pretty-printed object", JSON.stringify(JSON.parse(row()), null, 2), [
    "not_json",
    1,
    "span several lines",
  ]],
  ["Python's own notation", `{'messages': []}`, ["not_json", 1, "double quotes"]],
  ["NaN", `{"messages":[{"role":"assistant","content":"a","weight":NaN}]}`, ["not_json", 1, "NaN"]],
  ["two objects on a line", `${row()}${row()}\n`, ["not_json", 1, "several objects"]],
  ["a byte order mark in the middle", `${row()}\n\ufeff${row()}\n`, ["not_json", 2, "byte order mark"]],
  ["a truncated last line", `${row()}\n${row().slice(0, -9)}`, [
    "truncated",
    2,
    "in the middle of a row",
  ]],
  ["a row over 4 MiB", `${row()}\n${row("x".repeat(5e6))}\n${row()}\n`, [
    "line_too_long",
    2,
    "longer than 4 MiB",
  ]],
  ["very deep nesting", `{"messages":${"[".repeat(5000)}${"]".repeat(5000)}}`, ["too_deep", 1, "100 levels"]],
  ["a key twice", `{"messages":[{"role":"user","role":"assistant","content":"a"}]}`, [
    "duplicate_key",
    1,
    'duplicate key "role"',
  ]],
  ["a key twice, once escaped", `{"messages":[{"role":"assistant","content":"a","c\\u006fntent":"b"}]}`, [
    "duplicate_key",
    1,
    'duplicate key "content"',
  ]],
  [
    "a key twice, with blanks and colons to mislead",
    `{"messages" :[{"role":"assistant","content":":a","content":"b"}]}`,
    ["duplicate_key", 1, 'duplicate key "content"'],
  ],
  ["half of a character", `{"messages":[{"role":"assistant","content":"\\ud83d"}]}`, [
    "lone_surrogate",
    1,
    "messages[0].content contains a lone surrogate",
  ]],
  ["no known format", `{"text":"a"}`, ["unknown_format", 1, "has an unknown format"]],
  ["ShareGPT's format and no answer", `{"conversations":[{"from":"human","value":"a"}]}`, [
    "no_assistant",
    1,
    "has no assistant message",
  ]],
  ["Alpaca's format and no output", `{"instruction":"a"}`, ["source_field", 1, "output is missing"]],
  ["preferences without messages", `{"input":[],"preferred_output":[]}`, [
    "preference",
    1,
    "input must be an object with messages",
  ]],
  ["preferences as others write them", `{"prompt_":"a","chosen":"b","rejected":"c"}`, [
    "unknown_field",
    1,
    'Did you mean "prompt"?',
  ]],
  ["two formats", `${row()}\n{"prompt":"a","completion":"b"}`, [
    "mixed_formats",
    2,
    "is a prompt_completion row",
  ]],
  ["an unknown field", `{"messages":[{"role":"assistant","content":"a"}],"colour":1}`, [
    "unknown_field",
    1,
    '"colour"',
  ]],
  ["an unknown field of a message", chat({ ...answer, colour: 1 }), [
    "unknown_field",
    1,
    'messages[0] has unknown fields: "colour"',
  ]],
  ["messages that are not a list", `{"messages":"a"}`, ["messages", 1, "must be a non-empty array"]],
  ["a message that is not an object", chat("a", answer), ["messages", 1, "messages[0] must be an object"]],
  ["a wrong role", chat({ role: "robot", content: "a" }, answer), [
    "role",
    1,
    'messages[0].role is "robot". It must be',
  ]],
  ["the role developer", chat({ role: "developer", content: "a" }, user, answer), [
    "role",
    1,
    'Use "system"',
  ]],
  ["a message without a role", chat({ content: "a" }, answer), ["role", 1, "messages[0].role is missing"]],
  ["an empty content", chat({ role: "user", content: " " }, answer), [
    "content",
    1,
    "messages[0].content must be a non-empty string",
  ]],
  ["an image", chat({ role: "user", content: [{ type: "image_url", image_url: {} }] }, answer), [
    "content",
    1,
    "Only text",
  ]],
  ["a weight of a half", chat(user, { ...answer, weight: 0.5 }), ["weight", 1, "messages[1].weight is 0.5"]],
  ["a weight on a user's message", chat({ ...user, weight: 1 }, answer), [
    "weight",
    1,
    "only on assistant messages",
  ]],
  ["no assistant message", chat(user), ["no_assistant", 1, "has no assistant message"]],
  ["no trainable rows", chat(user, { ...answer, weight: 0 }), [
    "nothing_to_learn",
    null,
    "no trainable rows",
  ]],
  ["a row without a user turn", `${row()}\n${chat(answer)}`, ["no_user", 2, "no user message"]],
  ["a role twice in a row", chat(user, user, answer), [
    "consecutive_roles",
    1,
    "messages[1].role is the same",
  ]],
  ["a user's turn at the end", chat(user, answer, user), [
    "trailing_user_turn",
    1,
    "ends with a user message",
  ]],

  [
    "tools and calls",
    toolRow(user, call('{"city":"Oslo"}'), { role: "tool", tool_call_id: "c1", content: "" }, answer),
    null,
  ],
  ["a call at the end, which is trained on", toolRow(user, call("{}")), null],
  [
    "two calls at once",
    JSON.stringify({
      messages: [
        user,
        {
          role: "assistant",
          content: null,
          tool_calls: ["a", "b"].map((id) => ({
            id,
            type: "function",
            function: { name: "weather", arguments: "{}" },
          })),
        },
        { role: "tool", tool_call_id: "b", content: "1" },
        { role: "tool", tool_call_id: "a", content: "2" },
        answer,
      ],
      tools,
      parallel_tool_calls: true,
    }),
    null,
  ],
  [
    "the older functions",
    JSON.stringify({
      messages: [user, { role: "assistant", function_call: { name: "weather", arguments: "{}" } }, {
        role: "function",
        name: "weather",
        content: "1",
      }, answer],
      functions: [{ name: "weather" }],
    }),
    null,
  ],
  ["arguments encoded twice", toolRow(user, call(JSON.stringify('{"a":1}'))), [
    "double_encoded_arguments",
    1,
    "JSON-encoded twice",
  ]],
  ["arguments that are not JSON", toolRow(user, call("{a:1}")), [
    "tool_calls",
    1,
    "messages[1].tool_calls[0].function.arguments is",
  ]],
  ["arguments that are an object", toolRow(user, call({ a: 1 })), [
    "tool_calls",
    1,
    "JSON-encoded object",
  ]],
  ["a call of an undeclared function", toolRow(user, call("{}", "c1", "other")), [
    "tool_calls",
    1,
    "is not declared",
  ]],
  ["a call without an answer", toolRow(user, call("{}"), user, answer), [
    "tool_answer",
    1,
    'has calls without a response: "c1"',
  ]],
  ["an answer to no call", toolRow(user, { role: "tool", tool_call_id: "x", content: "1" }, answer), [
    "tool_answer",
    1,
    "no earlier call",
  ]],
  [
    "a tool without a name",
    JSON.stringify({ messages: [user, answer], tools: [{ type: "function", function: {} }] }),
    ["tools", 1, "tools[0].function.name"],
  ],
  [
    "parallel_tool_calls of a wrong type",
    JSON.stringify({ messages: [user, answer], parallel_tool_calls: "yes" }),
    ["tools", 1, "true or false"],
  ],
];
for (const [what, file, expected] of cases) {
  Deno.test(`a file with ${what} is ${expected === null ? "valid" : `reported as ${expected[0]}`}`, () => {
    const report = check(file);
    if (expected === null) {
      assertEquals(allFindings(report), []);
      assertEquals([report.problems, report.complete], [{}, true]);
      return;
    }
    const [code, line, part] = expected;
    const found = allFindings(report).find((finding) => finding.code === code);
    assert(found, JSON.stringify(allFindings(report)));
    assertEquals(found.line, line);
    assertStringIncludes(sentence(found), part);
    assert((report.problems[code] ?? 0) > 0);
    // The report is the same byte by byte and with JSON round trips of the state in between.
    if (file.length < 2000) assertEquals(inPieces(bytes(file), 1, true), report);
  });
}

/** Validates in chunks; with `resume`, resumes from the state's JSON at its offset after each. */
function inPieces(file: Uint8Array, size: number, resume: boolean, reads = everything): DatasetReport {
  let validator = new Validator({ reads });
  let at = 0;
  while (at < file.length && !validator.stopped) {
    const before = validator.offset;
    while (at < file.length && (validator.offset === before || !resume)) {
      validator.push(file.subarray(at, at += size));
      if (validator.stopped) break;
    }
    if (!resume || at >= file.length || validator.stopped) continue;
    const state: ValidatorState = JSON.parse(JSON.stringify(validator.state()));
    at = validator.offset;
    validator = new Validator({ reads, state });
  }
  return validator.end();
}

// trainer/tests/data/test_dataset.py uses the same cases: both sides accept and reject the same rows.
const Case = z.object({
  what: z.string(),
  lines: z.array(z.unknown()).optional(),
  document: z.unknown().optional(),
  indent: z.number().optional(),
  learned: z.array(z.string()).optional(),
  refused: z.string().optional(),
  /** Cases in which the server converts a file that the worker rejects, and so has another finding. */
  refused_at_upload: z.string().optional(),
});
/** A converted row. */
const Chat = z.object({
  messages: z.array(z.object({ role: z.string(), content: z.string(), weight: z.number().optional() })),
});
const shared = z.array(Case).parse(
  JSON.parse(await Deno.readTextFile(new URL("../fixtures/dataset_rows.json", import.meta.url))),
);
for (const { what, lines, document, indent, learned, refused_at_upload, ...one } of shared) {
  const refused = refused_at_upload ?? one.refused;
  Deno.test(`matches the trainer: ${what}`, () => {
    const text = lines?.map((line) => typeof line === "string" ? line : JSON.stringify(line)).join("\n") ??
      JSON.stringify(document, null, indent);
    const converted: Uint8Array[] = [];
    const validator = new Validator({ output: (line) => void converted.push(line) });
    validator.push(bytes(text));
    const report = validator.end();
    const codes = report.errors.map(({ code }) => String(code));
    if (learned !== undefined) {
      assertEquals([codes, report.trainable_rows > 0], [[], true]);
      if (validator.conversion !== null) {
        const trained = converted.flatMap((line) =>
          Chat.parse(JSON.parse(new TextDecoder().decode(line))).messages
            .filter(({ role, weight }) => role === "assistant" && weight !== 0)
        );
        assertEquals(trained.map(({ content }) => content), learned);
      }
    } else assert(codes.includes(refused ?? ""), `${codes}`);
  });
}

for (
  const [what, row, code, field] of [
    [
      "half of an emoji in a tool's description",
      {
        messages: [user, answer],
        tools: [{ type: "function", function: { name: "f", description: "x\ud83d" } }],
      },
      "lone_surrogate",
      "tools[0].function.description",
    ],
    [
      "half of an emoji in an enum",
      {
        messages: [user, answer],
        tools: [{ type: "function", function: { name: "f", parameters: { enum: ["a", "\ude00"] } } }],
      },
      "lone_surrogate",
      "tools[0].function.parameters.enum[1]",
    ],
    [
      "half of an emoji in a key",
      { messages: [user, answer], metadata: { "\ud83d": 1 } },
      "lone_surrogate",
      "metadata.\ufffd",
    ],
    [
      "half of an emoji in arguments",
      { messages: [user, call('{"t": "\\ud83d"}')] },
      "lone_surrogate",
      "messages[1].tool_calls[0].function.arguments.t",
    ],
    [
      "half of an emoji in a function's name",
      { messages: [user, call("{}", "c1", "f\ud83d")] },
      "lone_surrogate",
      "messages[1].tool_calls[0].function.name",
    ],
    [
      "arguments that are nested too deep",
      { messages: [user, call('{"a":'.repeat(900) + "1" + "}".repeat(900))] },
      "too_deep",
      "messages[1].tool_calls[0].function.arguments",
    ],
    [
      "a number in arguments that only Infinity can hold",
      { messages: [user, call('{"n": 1e999}')] },
      "not_json",
      "messages[1].tool_calls[0].function.arguments.n",
    ],
  ] as const
) {
  Deno.test(`rejects ${what} at upload and names the field`, () => {
    const report = check(JSON.stringify(row));
    assertEquals(report.errors.map((found) => [found.code, found.field]), [[code, field]]);
  });
}

Deno.test("rejects a number that overflows to Infinity, but not long digits in text", () => {
  const row = (metadata: string) =>
    `{"messages":${JSON.stringify([user, answer])},"metadata":{"n":${metadata}}}`;
  for (const huge of ["-1e400", "1.5E+309", "9".repeat(320)]) {
    assertEquals(check(row(huge)).errors.map(({ code, field }) => [code, field]), [[
      "not_json",
      "metadata.n",
    ]]);
  }
  for (const fine of ["1e-999", "1e300", `"1e999"`, `"${"9".repeat(400)}"`]) {
    assertEquals(check(row(fine)).errors, []);
  }
});

Deno.test("rejects tool rows if the trainer cannot read them", () => {
  const tool = validate(bytes(toolRow(user, call("{}"))), nothing);
  assertStringIncludes(
    tool.errors.map(sentence).join(),
    "tool calls are not supported. Remove these rows.",
  );
});

const preference = (question: string, better: string, worse: string) =>
  JSON.stringify({
    input: { messages: [{ role: "user", content: question }] },
    preferred_output: [{ role: "assistant", content: better }],
    non_preferred_output: [{ role: "assistant", content: worse }],
  });

Deno.test("preference rows count both answers, and max_length applies to the longer one", () => {
  const text = [
    preference("q".repeat(40), "a".repeat(40), "b".repeat(400)),
    preference("q".repeat(40), "a".repeat(40), "b".repeat(400)),
    preference("q", "same", "same"),
  ].join("\n");
  const report = check(text);
  assertEquals([report.format, report.rows, report.trainable_rows, report.rows_without_labels], [
    "preference",
    3,
    2,
    1,
  ]);
  assertEquals([report.assistant_messages, report.duplicates.rows], [6, 1]);
  assertEquals(report.problems, { same_answers: 1 });
  assertEquals(report.longest_rows[0]?.tokens, 110, "a question of 40 and an answer of 400 characters");
  // The prompt precedes both answers: 2 × 40 + 440, and in the third 2 × (1 + 4).
  assertEquals([report.tokens.total, report.tokens.trainable], [130 + 130 + 3, 110 + 110]);
});

Deno.test("a problem in a preference prompt is reported once, with its position in the row", () => {
  const row = {
    input: { messages: [{ role: "user", content: "" }, { role: "wizard", content: "a" }], tools: [{}] },
    preferred_output: [{ role: "assistant", content: "a", colour: 1 }],
    non_preferred_output: [{ role: "assistant", content: [] }],
  };
  const found = check(JSON.stringify(row)).errors.map(({ field, code }) => [field, code]);
  assertEquals(found, [
    ["input.tools[0].type", "tools"],
    ["input.messages[0].content", "content"],
    ["input.messages[1].role", "role"],
    ["preferred_output[0]", "unknown_field"],
    ["non_preferred_output[0].content", "content"],
  ]);
});

const pair = (i: number, target: string | null = `answer ${i}`) => ({
  id: `r${i}`,
  conversation_id: "c",
  turn_number: 2,
  system_prompt: "Be kind.",
  conversation_history: [
    { turn: 1, role: "user", content: "before" },
    { turn: 1, role: "assistant", content: "yes" },
    { turn: 2, role: "user", content: `question ${i}` },
  ],
  current_user_input: `question ${i}`,
  target_response: target,
  training_metadata: { a: [1, { b: "}]" }] },
});
const pairs = [pair(1), pair(2, null), pair(3)];
const meta = { file_name: "a.jsonl", total_pairs: 3, version: "4.0.0" };
const brightrun = [{ _meta: meta }, ...pairs].map((value) => JSON.stringify(value)).join("\n");
const documents = {
  "on one line": JSON.stringify({ training_file_metadata: meta, conversations: [{ training_pairs: pairs }] }),
  "over many lines": JSON.stringify(
    {
      conversations: [{ x: '"[{', training_pairs: pairs.slice(0, 2) }, { training_pairs: [pairs[2]] }],
      training_file_metadata: meta,
      more: { training_pairs: [1] },
    },
    null,
    2,
  ),
};

Deno.test("brightrun-lora-v4 counts exclude rows without a target, and duplicate turns are reported", () => {
  const report = check(brightrun);
  assertEquals(
    [report.format, report.rows, report.trainable_rows, report.rows_without_labels, report.errors],
    ["chat", 3, 2, 1, []],
  );
  assertEquals(report.problems, { duplicate_turn: 3, no_labels: 1 });
});
for (const [how, text] of Object.entries(documents)) {
  Deno.test(`a brightrun-lora-v4 JSON document ${how} has the same report for any chunking`, () => {
    const report = check(text);
    const { errors, rows, trainable_rows, tokens, problems, duplicates } = check(brightrun);
    assertEquals(
      [report.errors, report.rows, report.trainable_rows, report.tokens, report.problems, report.duplicates],
      [errors, rows, trainable_rows, tokens, problems, duplicates],
    );
    for (const size of [1, 7, 100]) assertEquals(inPieces(bytes(text), size, true), report);
    const lines = report.warnings.map(({ line }) => text.split("\n")[(line ?? 0) - 1] ?? "");
    assert(lines.every((line) => line.includes("{")), JSON.stringify(lines));
  });
}
const brokenDocuments: [string, string, ProblemCode][] = [
  ["is truncated", documents["over many lines"].slice(0, 700), "truncated"],
  ["has a bracket too many", documents["over many lines"] + "}", "not_json"],
  [
    "declares more pairs than it has",
    documents["on one line"].replace('"total_pairs":3', '"total_pairs":9'),
    "row_count",
  ],
  ["is of another version", documents["on one line"].replace("4.0.0", "3.1"), "wrong_version"],
  ["has a row with an empty target", documents["on one line"].replace("answer 3", " "), "source_field"],
  [
    "has a row over 4 MiB",
    documents["on one line"].replace("answer 1", "[{]".repeat(2e6)),
    "line_too_long",
  ],
  ["has no pair", '{"training_file_metadata":{},"conversations":[]}', "no_rows"],
];
for (const [what, text, code] of brokenDocuments) {
  Deno.test(`a brightrun document that ${what} reports ${code}`, () => {
    const report = check(text);
    assert(report.problems[code], JSON.stringify(report.problems));
    if (text.length < 10_000) assertEquals(inPieces(bytes(text), 1, true), report);
    if (code === "line_too_long") assertEquals([report.rows, report.trainable_rows], [3, 1]);
  });
}

Deno.test("a report counts rows, messages, tokens and the longest rows", () => {
  const long = chat({ role: "user", content: "u".repeat(400) }, {
    ...answer,
    content: "a".repeat(400),
    weight: 0,
  }, answer);
  const report = check(`${row()}\n${long}\n${chat(user, { ...answer, weight: 0 })}`);
  assertEquals(
    [report.rows, report.assistant_messages, report.trainable_rows, report.rows_without_labels],
    [3, 4, 2, 1],
  );
  // (2 + 2) / 4, 802 / 4 and (2 + 2) / 4; 2, 2 and 0 trainable characters.
  assertEquals([report.tokens.total, report.tokens.trainable], [203, 2]);
  assertEquals(report.tokens.histogram, [{ up_to: 64, rows: 2 }, { up_to: 256, rows: 1 }]);
  assertEquals(report.longest_rows.map(({ line, tokens }) => [line, tokens]), [[2, 201], [1, 1], [3, 1]]);
  assertEquals(report.longest_rows[0]?.bytes, bytes(long).length);
  const tied = check([...Array(9)].map((_, n) => row(n === 7 ? "u".repeat(400) : "q")).join("\n"));
  assertEquals(tied.longest_rows.map(({ line }) => line), [8, 1, 2, 3, 4]);
  assertEquals(report.problems, { no_labels: 1, consecutive_roles: 1 });
});

Deno.test("non-Latin text is counted by its bytes", () => {
  assertEquals(check(chat(user, { ...answer, content: "你".repeat(4000) })).tokens.total >= 2900, true);
});

Deno.test("duplicates are reported with the line they repeat", () => {
  const report = check([row("a"), row("b"), row("a") + "  ", row("c"), row("a")].join("\r\n"));
  assertEquals(report.duplicates, {
    rows: 2,
    exact: true,
    examples: [{ line: 3, first_line: 1 }, { line: 5, first_line: 1 }],
  });
});

Deno.test("duplicates beyond the stored rows are estimated and marked as such", () => {
  const lines: string[] = [];
  for (let i = 0; i < 60_000; i++) lines.push(row(`row ${i}`));
  for (let i = 0; i < 30_000; i++) lines.push(row(`row ${i}`));
  const { duplicates } = check(lines.join("\n"));
  assertEquals(duplicates.exact, false);
  assert(Math.abs(duplicates.rows - 30_000) < 1500, `estimated ${duplicates.rows}`);
});

Deno.test("a report details 100 errors, counts the others, and stops after 10,000 rows", () => {
  const many = check("x\n".repeat(500) + row());
  assertEquals([many.errors.length, many.error_rows, many.problems.not_json, many.complete], [
    100,
    500,
    500,
    true,
  ]);
  assertEquals(many.errors.map(({ line }) => line), Array.from({ length: 100 }, (_, i) => i + 1));
  const stopped = check("x\n".repeat(maxBrokenRows * 2));
  assertEquals([stopped.rows, stopped.complete], [maxBrokenRows, false]);
});

Deno.test("a problem that every row has is reported once, for the file", () => {
  const rows = Array.from({ length: 300 }, (_, i) => JSON.stringify({ id: i, ...JSON.parse(row(`${i}`)) }));
  const { errors, problems, error_rows } = check(rows.join("\n"));
  assertEquals(
    errors.map(({ line, code, what }) => [line, code, what]),
    [[null, "unknown_field", 'has unknown fields: "id", in each of 300 rows']],
  );
  assertEquals([problems.unknown_field, error_rows], [300, 300]);
  assertEquals(check([...rows, row()].join("\n")).errors.length, 100);
});

Deno.test("a report contains nothing that jsonb rejects", () => {
  const nasty = JSON.stringify({
    "a\0b\ud800": 1,
    messages: [{ role: "\0\udfff".repeat(40), content: "\0" }],
  });
  const text = JSON.stringify(check(`${nasty}\n{"x\0`));
  assert(!/(^|[^\\])(\\\\)*\\u(0000|d[89a-f])/i.test(text), text);
});

Deno.test("docs/datasets.md documents every problem code", async () => {
  const docs = await Deno.readTextFile(new URL("../../docs/datasets.md", import.meta.url));
  assertEquals(Object.keys(problemLevels).filter((code) => !docs.includes(`\`${code}\``)), []);
});

/** Small, fast and deterministic. */
function random(seed: number): () => number {
  return () => {
    seed = Math.imul(seed ^ seed >>> 15, seed | 1) + 0x6d2b79f5 | 0;
    return ((seed ^ seed >>> 14) >>> 0) / 2 ** 32;
  };
}

Deno.test("any bytes produce a report, independent of chunking", () => {
  const next = random(7);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const seeds = [
    row(),
    toolRow(user, call("{}")),
    brightrun,
    ...Object.values(documents),
    `{"prompt":"a","completion":"b"}`,
  ];
  const scraps = [
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\n",
    "\r\n",
    "\0",
    "\ufeff",
    "null",
    "1e999",
    " ",
    '"role"',
    "\ud800",
  ];
  for (let i = 0; i < 500; i++) {
    let file: Uint8Array;
    if (i % 3 === 0) {
      file = Uint8Array.from({ length: Math.floor(next() * 300) }, () => Math.floor(next() * 256));
    } else {
      let text = Array.from({ length: 1 + Math.floor(next() * 3) }, () => pick(seeds)).join("\n");
      for (let edits = Math.floor(next() * 4); edits > 0; edits--) {
        const at = Math.floor(next() * text.length);
        text = text.slice(0, at) + pick(scraps) + text.slice(at + Math.floor(next() * 5));
      }
      file = bytes(text);
    }
    const report = check(file);
    assert(report.rows > 0 || report.errors.length > 0);
    assertEquals(inPieces(file, 1 + Math.floor(next() * 64), true), report);
    assertEquals(inPieces(file, 1 + Math.floor(next() * 64), false), report);
  }
});

Deno.test("a mistyped role is one problem", () => {
  const { errors, warnings } = check(chat({ role: "user", content: "a" }, { ...answer, role: "asistant" }));
  assertEquals(errors?.map(({ code }) => code), ["role"]);
  assertEquals(warnings, []);
});
