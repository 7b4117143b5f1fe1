/** The dashboard's functions that need no browser. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { overlay } from "../../dashboard/src/features/compare/overlay.ts";
import { evaluatedFiles, scoreRows } from "../../dashboard/src/features/compare/run_scores.ts";
import { findDifferences } from "../../dashboard/src/features/evaluations/differences.ts";
import { barHeight, fillBuckets, formatBound } from "../../dashboard/src/features/files/token_buckets.ts";
import { tarBlockBytes, tarHeader } from "../../dashboard/src/features/jobs/tar.ts";
import {
  allSettings,
  buildJobRequest,
  readForm,
  retryQuery,
} from "../../dashboard/src/features/new_job/form.ts";
import { jobSnippets } from "../../dashboard/src/features/new_job/job_snippets.ts";
import { groupIssues } from "../../dashboard/src/ui/issue_groups.ts";
import { startTunebase } from "../support/test_server.ts";

const marked = (expected: string, answer: string) =>
  findDifferences(expected, answer).map(({ text, differs }) => differs ? `[${text}]` : text).join("");

Deno.test("only the words of an answer that the expected one lacks are marked", () => {
  assertEquals(marked("The sky is blue.", "The sky is green."), "The sky is [green].");
  assertEquals(
    marked('{"team":"billing","urgent":true}', '{"team":"billing","urgent":false}'),
    '{"team":"billing","urgent":[false]}',
  );
  assertEquals(marked("a b c", "a x y c"), "a [x y ]c");
  assertEquals(marked("same", "same"), "same");
  // Without anything in common, marks would only be noise; and so would marks of very long texts.
  assertEquals(marked("one two three four", "fünf sechs sieben acht"), "fünf sechs sieben acht");
  const long = "word ".repeat(2000);
  assertEquals(marked(long, `${long}!`), `${long}!`);
});

Deno.test("curves share their x values, and have gaps where they have none", () => {
  assertEquals(overlay([[[1, 5], [3, 4]], [[2, 9]], []]), {
    x: [1, 2, 3],
    columns: [[5, null, 4], [null, 9, null], [null, null, null]],
  });
});

Deno.test("runs are compared by their newest evaluation with one file: that of the most runs", () => {
  const rest = {
    answered: 3,
    failed: 0,
    prompt_tokens: 9,
    completion_tokens: 9,
    seconds: 1,
    cost_usd: 0,
    valid_json: null,
    field_accuracy: null,
  };
  const evaluation = (file: string, created_at: number, exact_match: number, contains: number | null) => ({
    file,
    created_at,
    graders: contains === null ? [] : [{ type: "contains" as const, value: "x", ignore_case: false }],
    totals: [
      { ...rest, model: "ft", exact_match, graders: [contains] },
      { ...rest, model: "base", exact_match: 0.1, graders: [] },
    ],
  });
  const run = (...evaluations: ReturnType<typeof evaluation>[]) => ({
    job: { fine_tuned_model: "ft", base_model: "base" },
    evaluations,
  });
  const runs = [
    run(evaluation("a", 3, 0.5, null), evaluation("a", 2, 0.4, null), evaluation("b", 1, 0.9, null)),
    run(evaluation("a", 1, 0.6, 0.7)),
    run(),
  ];
  assertEquals(evaluatedFiles(runs), [{ file: "a", runs: 2 }, { file: "b", runs: 1 }]);
  const none = { tuned: null, base: null };
  assertEquals(scoreRows(runs, "a"), [
    { label: "Exact match", values: [{ tuned: 0.5, base: 0.1 }, { tuned: 0.6, base: 0.1 }, none] },
    { label: 'contains "x"', values: [none, { tuned: 0.7, base: null }, none] },
  ]);
  assertEquals(scoreRows(runs, "b").map(({ values }) => values.map(({ tuned }) => tuned)), [[
    0.9,
    null,
    null,
  ]]);
});

Deno.test("a histogram has the empty buckets between others, and shows a single row on the logarithmic scale", () => {
  const buckets = fillBuckets([{ up_to: 64, rows: 900 }, { up_to: 192, rows: 5 }, { up_to: null, rows: 1 }]);
  assertEquals(buckets.slice(0, 4).map(({ from, upTo, rows }) => [from, upTo, rows]), [
    [1, 64, 900],
    [65, 96, 0],
    [97, 128, 0],
    [129, 192, 5],
  ]);
  assertEquals(buckets.at(-1), { from: 131_073, upTo: null, rows: 1 });
  assertEquals(fillBuckets([]), []);
  assertEquals([barHeight(450, 900, "linear"), barHeight(0, 900, "logarithmic")], [0.5, 0]);
  assert(barHeight(1, 900, "logarithmic") > 0.1);
  assertEquals([64, 768, 1024, 1536, 131_072].map(formatBound), ["64", "768", "1k", "1.5k", "128k"]);
});

Deno.test("an archive is readable by tar, with long paths too", async () => {
  const folder = await Deno.makeTempDir();
  const files = {
    "adapter-x/README.md": "hello",
    [`adapter-x/${"deep/".repeat(20)}weights.bin`]: "w".repeat(700),
  };
  const parts = Object.entries(files).flatMap(([path, text]) => {
    const bytes = new TextEncoder().encode(text);
    const padding = (tarBlockBytes - bytes.length % tarBlockBytes) % tarBlockBytes;
    return [tarHeader(path, bytes.length, 1_790_000_000), bytes, new Uint8Array(padding)];
  });
  await Deno.writeFile(
    `${folder}/a.tar`,
    new Uint8Array(await new Blob([...parts, new Uint8Array(2 * tarBlockBytes)]).arrayBuffer()),
  );
  const { success, stderr } = await new Deno.Command("tar", { args: ["-xf", "a.tar"], cwd: folder }).output();
  assert(success, new TextDecoder().decode(stderr));
  for (const [path, text] of Object.entries(files)) {
    assertEquals(await Deno.readTextFile(`${folder}/${path}`), text);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a problem of many rows is one entry, and problems of the file come first", () => {
  const issue = (line: number | null, field: string | null, code = "role") => ({
    line,
    field,
    code,
    what: "is not a role",
    fix: "Use user.",
  });
  const lines = Array.from({ length: 17 }, (_, n) => issue(n + 2, `messages[${n}].role`));
  const groups = groupIssues([...lines, issue(2, "messages", "messages"), issue(null, null, "row_count")]);
  assertEquals(groups.map(({ where, field, count }) => [where, field, count]), [
    ["whole file", null, 1],
    ["lines 2, 3, 4, 5, 6, and 12 more", "messages[].role", 17],
    ["line 2", "messages", 1],
  ]);
});

Deno.test("Run again asks for the job that was run, with every setting", async () => {
  const tunebase = await startTunebase({ TUNEBASE_WANDB: "1", TUNEBASE_HUB_NAMESPACES: "acme" });
  try {
    const user = await tunebase.user();
    const row = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ok"}]}\n';
    const upload = (text: string) =>
      user.openai.files.create({ file: new File([text], "rows.jsonl"), purpose: "fine-tune" });
    const [training, validation] = [await upload(row.repeat(3)), await upload(row)];
    const hyperparameters = {
      n_epochs: 2,
      batch_size: 4,
      learning_rate: 3e-4,
      lora_rank: 32,
      lora_alpha: 48,
      lora_dropout: 0.01,
      lora_targets: "attention",
      lora_variant: "dora",
      quantization: "none",
      use_rslora: false,
      warmup_ratio: 0.1,
      lr_schedule: "cosine",
      weight_decay: 0.01,
      max_grad_norm: 0.5,
      eval_steps: 3,
      early_stopping_patience: 5,
      max_length: 1024,
      export: ["merged"],
    };
    const body = {
      model: "SmolLM2-135M-Instruct",
      training_file: training.id,
      validation_file: validation.id,
      method: { type: "supervised", supervised: { hyperparameters } },
      suffix: "again",
      seed: 7,
      metadata: { team: "support", note: "a = b" },
      integrations: [{
        type: "wandb",
        wandb: { project: "runs", entity: null, name: "n", tags: ["x", "y"] },
      }, { type: "huggingface", huggingface: { repo: "acme/again", private: false } }],
      spend_cap_usd: 3,
      auto_start: false,
    };
    const create = async (request: unknown) => {
      const response = await user.fetch("/fine_tuning/jobs", {
        method: "POST",
        body: JSON.stringify(request),
      });
      const job = await response.json();
      assert(response.ok, JSON.stringify(job));
      return job;
    };
    const first = await create(body);
    const form = readForm(new URLSearchParams(retryQuery(first, null)));
    const second = await create(buildJobRequest(form, "chat"));
    const settingsOf = (job: Record<string, unknown>) =>
      [
        "model",
        "training_file",
        "validation_file",
        "hyperparameters",
        "method",
        "suffix",
        "seed",
        "metadata",
        "integrations",
        "spend_cap_usd",
        "auto_start",
      ].map((name) => [name, job[name]]);
    assertEquals(settingsOf(second), settingsOf(first));
    for (const [name, value] of Object.entries(hyperparameters)) {
      assertEquals(
        first.hyperparameters[name],
        name === "export" ? first.hyperparameters[name] : value,
        name,
      );
      assert(allSettings.some((setting) => setting.name === name), `${name} is in the form`);
    }

    // The curl line creates the same job.
    const request = buildJobRequest(form, "chat");
    assert(request !== null);
    const cli = jobSnippets("https://x", request).find(({ label }) => label === "CLI");
    assertStringIncludes(`${cli?.text}`, "--push-to-hub acme/again \\\n  --hub-public");
    const curl = jobSnippets(`${tunebase.url}/functions/v1/tunebase`, request).find(({ label }) =>
      label === "curl"
    );
    const { stdout } = await new Deno.Command("bash", {
      args: ["-c", `${curl?.text}`],
      env: { TUNEBASE_API_KEY: user.apiKey },
    }).output();
    assertEquals(settingsOf(JSON.parse(new TextDecoder().decode(stdout))), settingsOf(first));
  } finally {
    await tunebase.close();
  }
});
