/** The dashboard's playground in a real Chromium, over the real API, with a fake engine. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import type { Page } from "playwright-core";
import { root } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";
import {
  type Answer,
  complete,
  type InferenceRequest,
  isTuned,
  vllmError,
} from "../support/fake_inference.ts";
import { trainedJob } from "../support/fake_worker.ts";
import type { TestUser } from "../support/test_server.ts";
import { accessible } from "./axe.ts";
import { base, tunebase, visit } from "./shared.ts";

/** Lets the fine-tuned model and its base answer differently. */
function answerWith(tuned: Answer, other: Answer = tuned): void {
  tunebase.inference.requests.length = 0;
  tunebase.inference.answer = (request) => (isTuned(request) ? tuned : other)(request);
}
const messagesOf = ({ body }: InferenceRequest) => body.messages;
const requestOf = (tuned: boolean) => {
  const found = tunebase.inference.requests.findLast((request) => isTuned(request) === tuned);
  assert(found !== undefined, "the engine got no such request");
  return found;
};

const column = (page: Page, name: string, turn = 1) =>
  page.getByRole("article", { name: `Turn ${turn}` }).locator(".answer").filter({
    has: page.getByRole("heading", { name }),
  });
const ask = async (page: Page, text: string) => {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
};
const path = (model: string | null) => `playground?${new URLSearchParams({ model: model ?? "" })}`;

Deno.test("a finished job's model and its base stream their answers side by side", async () => {
  const user = await tunebase.user();
  const job = await trainedJob(tunebase, user);
  const first = Promise.withResolvers<void>();
  answerWith(
    complete(["It", " is", " tuned"], { pause: first.promise }),
    complete(["I", " am", " the base"]),
  );
  await using visitor = await visit({ user, path: `jobs/${job.id}` });
  const { page } = visitor;
  await page.getByRole("link", { name: "Try it", exact: true }).click();
  await page.getByRole("heading", { name: "Playground" }).waitFor();
  assertEquals(await page.getByLabel("Model", { exact: true }).inputValue(), job.fine_tuned_model);
  assertEquals(await page.getByLabel("Compare with", { exact: true }).inputValue(), base);
  await ask(page, "How are you?");
  const tuned = column(page, "Fine-tuned model");
  const other = column(page, "Base model");
  await tuned.getByText("It", { exact: true }).waitFor();
  await tuned.locator('[aria-busy="true"]').waitFor();
  first.resolve();
  await tuned.getByText("It is tuned", { exact: true }).waitFor();
  await other.getByText("I am the base", { exact: true }).waitFor();
  await tuned.getByText(/^7 tokens in, 3 out · [\d.]+.s · first token after [\d.]+.s$/).waitFor();
  await page.getByRole("status").filter({ hasText: "It is tuned" }).waitFor({ state: "attached" });
  const [left, right] = [await tuned.boundingBox(), await other.boundingBox()];
  assert(left !== null && right !== null);
  assert(left.y === right.y && left.x + left.width < right.x, "two columns");

  // Each model continues its own conversation, with the settings.
  await page.getByText("Settings").click();
  await page.getByLabel("System prompt").fill("Be brief.");
  await page.getByLabel("Temperature").fill("0");
  await page.getByLabel("Max tokens").fill("20");
  await ask(page, "And now?");
  await column(page, "Fine-tuned model", 2).getByText("It is tuned", { exact: true }).waitFor();
  await column(page, "Base model", 2).getByText("I am the base", { exact: true }).waitFor();
  assertEquals(messagesOf(requestOf(false)), [
    { role: "system", content: "Be brief." },
    { role: "user", content: "How are you?" },
    { role: "assistant", content: "I am the base" },
    { role: "user", content: "And now?" },
  ]);
  const { temperature, max_completion_tokens, max_tokens } = requestOf(true).body;
  assertEquals([temperature, max_completion_tokens ?? max_tokens], [0, 20]);

  await page.getByLabel("Message", { exact: true }).fill("Not sent yet");
  await page.reload();
  await column(page, "Fine-tuned model", 2).getByText("It is tuned", { exact: true }).waitFor();
  assertEquals(await page.getByLabel("Message", { exact: true }).inputValue(), "Not sent yet");
  assertEquals(await page.getByLabel("Temperature").inputValue(), "0");
  await accessible(page, "playground, answered");
  await page.setViewportSize({ width: 390, height: 800 });
  const [top, bottom] = [await tuned.boundingBox(), await other.boundingBox()];
  assert(top !== null && bottom !== null && top.y + top.height < bottom.y, "stacked");
  const wide = await page.evaluate("document.scrollingElement.scrollWidth - innerWidth") as number;
  assert(wide <= 0, `${wide} px too wide for a narrow screen`);
  await page.getByRole("button", { name: "New conversation" }).click();
  assertEquals(await page.getByRole("article").count(), 0);
  visitor.clean();
});

Deno.test("a checkpoint can be tried with and without a comparison", async () => {
  const user = await tunebase.user();
  const job = await trainedJob(tunebase, user);
  await using visitor = await visit({ user, path: `jobs/${job.id}` });
  const { page } = visitor;
  await page.getByRole("link", { name: "Try it (checkpoint of step 2)" }).click();
  const checkpoint = page.getByLabel("Checkpoint of model");
  await checkpoint.waitFor();
  assertEquals(
    await checkpoint.inputValue(),
    `ft:${base}:${job.id}:ckpt-step-2`,
  );
  await page.getByLabel("Compare with", { exact: true }).selectOption("None");
  await checkpoint.selectOption("Final model");
  assertEquals(await page.getByLabel("Compare with", { exact: true }).inputValue(), "");
  answerWith(complete(["ok"]));
  await ask(page, "Hello?");
  await column(page, "Fine-tuned model").getByText("ok", { exact: true }).waitFor();
  assertEquals(tunebase.inference.requests.length, 1);
  await visitor.go("models");
  await page.getByRole("link", { name: `Try it (${base})` }).click();
  await page.getByText("Ask the model something.").waitFor({ state: "detached" });
  assertEquals(await page.getByLabel("Model", { exact: true }).inputValue(), base);
  assertEquals(await page.getByLabel("Compare with", { exact: true }).inputValue(), "");
  visitor.clean();
});

Deno.test("an answer can be stopped, which ends its generation, and retried", async () => {
  const user = await tunebase.user();
  const { fine_tuned_model } = await trainedJob(tunebase, user);
  answerWith(complete(Array.from({ length: 500 }, (_, n) => `word${n} `), { delayMs: 50 }));
  await using visitor = await visit({ user, path: path(fine_tuned_model) });
  const { page } = visitor;
  await ask(page, "Write a book");
  await column(page, "Fine-tuned model").getByText("word3").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await column(page, "Fine-tuned model").getByText("Stopped.").waitFor();
  await column(page, "Base model").getByText("Stopped.").waitFor();
  assertEquals(await page.evaluate("document.activeElement.id"), "message", "the focus is not lost");
  for (let i = 0; !tunebase.inference.requests.every(({ signal }) => signal.aborted); i++) {
    assert(i < 100, "the engine still writes");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  answerWith(complete(["Short"]));
  await column(page, "Fine-tuned model").getByRole("button", { name: "Ask again" }).click();
  await column(page, "Fine-tuned model").getByText("Short", { exact: true }).waitFor();
  assertEquals(messagesOf(requestOf(true)), [{ role: "user", content: "Write a book" }]);
  visitor.clean();
});

Deno.test("a picked row's expected answer is shown next to the models' answers", async () => {
  const user = await tunebase.user();
  const job = await jobWithValidation(user);
  answerWith(complete(['{"category":', '"billing"}']), complete(["I am sorry"]));
  await using visitor = await visit({ user, path: path(job.fine_tuned_model) });
  const { page } = visitor;
  await page.getByRole("button", { name: "Pick a row" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("Row 2", { exact: true }).waitFor();
  assertEquals(
    await dialog.getByLabel("File").locator("option").allInnerTexts(),
    ["Validation file: held.csv", "Training file: train.jsonl"],
  );
  await accessible(page, "playground, picking a row");
  await dialog.getByLabel("Search rows").fill("twice");
  await dialog.getByText("1 row found").waitFor();
  await dialog.getByRole("button", { name: "I was charged twice." }).click();
  assertEquals(await page.getByLabel("Message", { exact: true }).inputValue(), "I was charged twice.");
  assertEquals(await page.evaluate("document.activeElement.id"), "message");
  await page.keyboard.press("Enter");
  await page.getByText("Row 1 of held.csv").waitFor();
  await column(page, "Fine-tuned model").getByText("Matches the expected answer").waitFor();
  await column(page, "Base model").getByText("Differs from the expected answer").waitFor();
  await column(page, "Expected answer").getByText('{"category":"billing"}').waitFor();
  await accessible(page, "playground, a row");
  await page.emulateMedia({ colorScheme: "dark" });
  await accessible(page, "playground, a row, dark", ["color-contrast", "link-in-text-block"]);

  await page.getByRole("button", { name: "Next row" }).click();
  await page.getByText("Row 2 of held.csv").waitFor();
  await page.keyboard.press("Enter");
  await column(page, "Base model", 2).getByText("I am sorry").waitFor();
  assertEquals(
    messagesOf(requestOf(false)),
    [{ role: "user", content: "The app crashes." }],
    "a row starts a new conversation",
  );
  assertEquals(await page.getByRole("button", { name: "Next row" }).count(), 0);

  // A row of the training file, with a system message and a tool.
  await page.getByRole("button", { name: "Pick a row" }).click();
  await dialog.getByLabel("File").selectOption("Training file: train.jsonl");
  await dialog.getByText("Row 1", { exact: true }).click();
  await page.keyboard.press("Enter");
  await page.getByText("Row 1 of train.jsonl, with 1 tool").waitFor();
  await column(page, "Expected answer", 3).getByText('get_order({"id":7})').waitFor();
  await column(page, "Fine-tuned model", 3).getByText("Differs").waitFor();
  assertEquals(messagesOf(requestOf(true)), [
    { role: "system", content: "Use the tool." },
    { role: "user", content: "Where is order 7?" },
  ]);
  assertEquals(requestOf(true).body.tools, trainingRow.tools);
  visitor.clean();
});

Deno.test("tools are validated, and the results of their calls can be entered", async () => {
  const user = await tunebase.user();
  const { fine_tuned_model } = await trainedJob(tunebase, user);
  tunebase.inference.requests.length = 0;
  tunebase.inference.answer = (request) => {
    const messages = request.body.messages;
    const isResult = Array.isArray(messages) && messages.at(-1).role === "tool";
    const answer = isResult || !isTuned(request)
      ? complete(["It was shipped."])
      : complete([], { call: { name: "get_order", arguments: '{"order_id": "7"}' } });
    return answer(request);
  };
  await using visitor = await visit({ user, path: path(fine_tuned_model) });
  const { page } = visitor;
  await page.getByText("Settings").click();
  await page.getByLabel("Message", { exact: true }).fill("Where is order 7?");
  const tools = page.getByLabel("Tools");
  await tools.fill("[{]");
  await page.getByText(/Not valid JSON: /).waitFor();
  assert(await page.getByRole("button", { name: "Send" }).isDisabled());
  await tools.fill('[{"type": "function", "function": {"name": "get order"}}]');
  await page.getByText('tools[0].function.name is "get order".').waitFor();
  await page.getByLabel("Temperature").fill("3");
  await page.getByText("Enter a number from 0 to 2.").waitFor();
  await accessible(page, "playground, wrong settings");
  await page.getByLabel("Temperature").fill("");
  await tools.fill("");
  await page.getByRole("button", { name: "Insert an example tool" }).click();
  await page.getByRole("button", { name: "Send" }).click();
  const tuned = column(page, "Fine-tuned model");
  await tuned.getByText('get_order({"order_id":"7"})').waitFor();
  await tuned.getByLabel("Result of get_order").fill('{"status": "shipped"}');
  await accessible(page, "playground, a tool call");
  await tuned.getByRole("button", { name: "Send 1 result" }).click();
  await tuned.getByText("It was shipped.").waitFor();
  assertEquals(messagesOf(requestOf(true)), [
    { role: "user", content: "Where is order 7?" },
    {
      role: "assistant",
      content: null,
      tool_calls: [{
        id: "call_1",
        type: "function",
        function: { name: "get_order", arguments: '{"order_id": "7"}' },
      }],
    },
    { role: "tool", content: '{"status": "shipped"}', tool_call_id: "call_1" },
  ]);
  visitor.clean();
});

Deno.test("loading is shown; errors say what to do and can be retried", async () => {
  const user = await tunebase.user();
  const { fine_tuned_model } = await trainedJob(tunebase, user);
  await using visitor = await visit({ user, path: path(fine_tuned_model) });
  const { page } = visitor;
  tunebase.inference.warm = () => new Response(null, { status: 204 });
  await page.getByRole("button", { name: "Load the models" }).click();
  await page.getByText("Loading on the GPU.").waitFor();
  tunebase.inference.warm = () => Response.json({ status: "ready" });
  await page.getByText(/^Loaded at \d/).waitFor();

  const tuned = column(page, "Fine-tuned model");
  const loaded = Promise.withResolvers<void>();
  tunebase.inference.answer = async (request) => {
    await loaded.promise;
    return complete(["Here", " I am"], { end: isTuned(request) ? "error" : "done" })(request);
  };
  await ask(page, "Are you there?");
  await tuned.getByText(/^Loading the model on the GPU … \d+ s$/).waitFor();
  await page.getByRole("status").filter({ hasText: "Loading" }).first().waitFor({ state: "attached" });
  await accessible(page, "playground, loading");
  loaded.resolve();
  await column(page, "Base model").getByText("Here I am").waitFor();
  const problem = tuned.getByRole("alert");
  await problem.getByText("inference_unavailable").waitFor();
  await tuned.getByText("Here I am").waitFor(); // what arrived before
  await accessible(page, "playground, failed");
  await page.emulateMedia({ colorScheme: "dark" });
  await accessible(page, "playground, failed, dark", ["color-contrast", "link-in-text-block"]);
  answerWith(complete(["Still here"]));
  await problem.getByRole("button", { name: "Try again" }).click();
  await tuned.getByText("Still here").waitFor();
  assertEquals(await problem.count(), 0);

  tunebase.inference.answer = () =>
    vllmError(400, "This model's maximum context length is 8192 tokens. Please reduce the length.");
  await ask(page, "Too long");
  const long = column(page, "Base model", 2).getByRole("alert");
  await long.waitFor();
  assertStringIncludes(await long.innerText(), "8192");
  visitor.clean();
});

Deno.test("models that cannot be called show why; a viewer cannot call models", async () => {
  const user = await tunebase.user();
  const { fine_tuned_model } = await trainedJob(tunebase, user);
  await using visitor = await visit({ user, path: path("ft:nobodys") });
  const { page } = visitor;
  await page.getByText("This project has no model ft:nobodys.").waitFor();
  await tunebase.sql`update tunebase.base_models set inference_endpoint_id = null`;
  try {
    await visitor.go("files");
    await page.reload();
    await visitor.go(path(fine_tuned_model));
    await page.locator(".notice").filter({ hasText: fine_tuned_model ?? "" }).first().waitFor();
    await page.getByLabel("Message", { exact: true }).fill("Hello?");
    assert(await page.getByRole("button", { name: "Send" }).isDisabled());
    await accessible(page, "playground, not served");
  } finally {
    await tunebase.sql`update tunebase.base_models set inference_endpoint_id = 'local-inference'`;
  }
  await tunebase.sql`update tunebase.project_members set role = 'viewer' where user_id = ${user.id}`;
  await using viewer = await visit({ user, path: path(fine_tuned_model) });
  await viewer.page.getByText("Your role doesn't allow calling models.").waitFor();
  visitor.clean();
});

Deno.test("the snippets run as pasted", async () => {
  const user = await tunebase.user();
  const { fine_tuned_model } = await trainedJob(tunebase, user);
  answerWith(complete(["It", " is", " tuned"]));
  const question = `Say "hi" — it's $HOME, \\n and 😀\nJSON\n'''`;
  await using visitor = await visit({ user, path: path(fine_tuned_model) });
  const { page, context } = visitor;
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByText("Settings").click();
  await page.getByLabel("Temperature").fill("0.5");
  await page.getByLabel("Message", { exact: true }).fill(question);
  const languages = ["curl", "Python", "Node"] as const;
  const copied: Record<typeof languages[number], string[]> = { curl: [], Python: [], Node: [] };
  for (const withTools of [false, true]) {
    if (withTools) await page.getByRole("button", { name: "Insert an example tool" }).click();
    for (const language of languages) {
      await page.getByLabel(language, { exact: true }).first().check();
      await page.getByRole("button", { name: `Copy as ${language}` }).click();
      await page.getByRole("button", { name: "Copied" }).waitFor();
      copied[language].push(await page.evaluate("navigator.clipboard.readText()") as string);
    }
  }
  for (const language of languages) {
    tunebase.inference.requests.length = 0;
    const output = await run(language, copied[language], user);
    const answers = output.replaceAll(/"content":"( is| tuned)"/g, "$1");
    assertEquals(answers.split("It").length, 3, `two answers: ${output}`);
    if (language !== "curl") assertEquals(output.split("It is tuned").length, 3, output);
    const requests = tunebase.inference.requests.filter(isTuned);
    assertEquals(requests.map(({ body }) => Array.isArray(body.tools)), [false, true]);
    for (const request of requests) {
      assertEquals(messagesOf(request), [{ role: "user", content: question }], language);
      assertEquals(request.body.temperature, 0.5);
    }
  }
  visitor.clean();
});

/** Runs the texts one after the other, in one process: the SDKs take longer to load than to answer. */
async function run(
  language: "curl" | "Python" | "Node",
  texts: string[],
  user: TestUser,
): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "tunebase snippet " });
  const ending = { curl: "sh", Python: "py", Node: "mjs" }[language];
  const files = texts.map((_, n) => join(folder, `chat${n}.${ending}`));
  for (const [n, file] of files.entries()) await Deno.writeTextFile(file, texts[n] ?? "");
  const each = {
    curl: 'for file in "$@"; do bash "$file"; done',
    Python: "import runpy, sys\nfor file in sys.argv[1:]: runpy.run_path(file, run_name='__main__')",
    Node: "for (const file of Deno.args) await import(`file://${file}`);",
  }[language];
  const all = join(folder, `all.${ending}`);
  await Deno.writeTextFile(all, each);
  const [program, ...args] = {
    curl: ["bash", all],
    Python: [join(root, "trainer/.venv/bin/python"), all],
    Node: [Deno.execPath(), "run", "-A", "--quiet", "--config", join(root, "deno.json"), all],
  }[language];
  const { success, stdout, stderr } = await new Deno.Command(program ?? "", {
    args: [...args, ...files],
    env: { TUNEBASE_API_KEY: user.apiKey },
  }).output();
  const decoder = new TextDecoder();
  assert(success, `${language}: ${decoder.decode(stderr)}`);
  await Deno.remove(folder, { recursive: true });
  return decoder.decode(stdout);
}

const trainingRow = {
  messages: [
    { role: "system", content: "Use the tool." },
    { role: "user", content: "Where is order 7?" },
    {
      role: "assistant",
      tool_calls: [{ id: "a", type: "function", function: { name: "get_order", arguments: '{"id": 7}' } }],
    },
  ],
  tools: [{ type: "function", function: { name: "get_order", parameters: { type: "object" } } }],
};

/** A fine-tuned model whose job has a validation file: a CSV, which is converted. */
async function jobWithValidation(user: TestUser) {
  const upload = (name: string, text: string) =>
    user.openai.files.create({ file: new File([text], name), purpose: "fine-tune" });
  const held = await upload(
    "held.csv",
    'prompt,completion\nI was charged twice.,"{""category"":""billing""}"\nThe app crashes.,"{""category"":""technical""}"\n',
  );
  const train = await upload("train.jsonl", `${JSON.stringify(trainingRow)}\n`);
  return await trainedJob(
    tunebase,
    user,
    await user.openai.fineTuning.jobs.create({
      model: base,
      training_file: train.id,
      validation_file: held.id,
    }),
  );
}
