/** The scripts of the README and examples/sdk, unmodified, against a server with a fake worker. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { root } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";
import { complete } from "../support/fake_inference.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { FakeWorker, latestAttempt } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());

const python = join(root, "trainer/.venv/bin/python");
const rows = join(root, "examples/support-train.jsonl");

/** The engine's answer. */
tunebase.inference.answer = complete(["It is", " fine"]);

/** Runs a script in its own folder while the user's next job trains; returns the folder and the output. */
async function run(user: TestUser, command: string[], links: string[] = []) {
  const folder = await Deno.makeTempDir({ prefix: "tunebase example " });
  for (const name of links) await Deno.symlink(join(root, name), join(folder, name));
  const [program = "", ...args] = command;
  const child = new Deno.Command(program, {
    args,
    cwd: folder,
    env: { OPENAI_BASE_URL: user.openai.baseURL, OPENAI_API_KEY: user.apiKey },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let over = false;
  const output = child.output().finally(() => over = true);
  const trained = trainNextJob(user, () => over);
  const { success, stdout, stderr } = await output;
  await trained;
  const text = new TextDecoder();
  assert(success, text.decode(stdout) + text.decode(stderr));
  return { folder, text: text.decode(stdout) };
}

async function trainNextJob(user: TestUser, over: () => boolean): Promise<void> {
  while (!over()) {
    const [job] = (await user.openai.fineTuning.jobs.list()).data;
    if (job?.status === "queued") {
      await tunebase.tick();
      const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
      await worker.claim();
      await worker.report({ metrics: [FakeWorker.metric(1, 2.5), FakeWorker.metric(2, 1.25)] });
      await worker.finishWithAdapter();
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function assertAdapter(folder: string): Promise<void> {
  assertEquals(await Deno.readTextFile(join(folder, "adapter_model.safetensors")), "weights");
}

Deno.test("the README's script trains an adapter from a file and calls it", async () => {
  const user = await tunebase.user();
  const readme = await Deno.readTextFile(join(root, "README.md"));
  const script = /```python\n(.*?)```/s.exec(readme)?.[1] ?? "";
  const shown = ["http://127.0.0.1:54321/functions/v1/tunebase", "tb_…"];
  for (const text of shown) assertEquals(script.split(text).length, 2, `${text}, once`);
  const [url = "", key = ""] = shown;
  const runnable = script.replace(url, user.openai.baseURL).replace(key, user.apiKey);
  const { folder, text } = await run(user, [python, "-c", runnable], ["examples"]);
  assertStringIncludes(text, "is in support/\nIt is fine\n");
  await assertAdapter(join(folder, "support"));
});

const examples = {
  "finetune.py": [python, join(root, "examples/sdk/finetune.py")],
  "finetune.mjs": [Deno.execPath(), "run", "-A", "--quiet", join(root, "examples/sdk/finetune.mjs")],
};
for (const [name, command] of Object.entries(examples)) {
  Deno.test(`examples/sdk/${name} trains an adapter from a file and calls it`, async () => {
    const user = await tunebase.user();
    const { folder, text } = await run(user, [...command, rows]);
    const [job] = (await user.openai.fineTuning.jobs.list()).data;
    const tuned = job?.fine_tuned_model;
    assertStringIncludes(
      text,
      `${tuned} was saved to ${job?.id}/\nSmolLM2-135M-Instruct: It is fine\n${tuned}: It is fine\n`,
    );
    await assertAdapter(join(folder, job?.id ?? ""));
  });
}
