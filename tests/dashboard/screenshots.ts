/** `task screenshots`: generates docs/images from the real dashboard, with a job of the tests' fake worker. */
import { buildDashboard } from "../../local/commands/dashboard.ts";
import { root } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";
import { startChromium } from "../support/chromium.ts";
import { startTestPostgres } from "../support/postgres_server.ts";
import { startTunebase } from "../support/test_server.ts";
import { FakeWorker, latestAttempt } from "../support/fake_worker.ts";
import { openDashboard } from "../support/browser_session.ts";
import { complete, isTuned } from "../support/fake_inference.ts";

const steps = 640;
const images = join(root, "docs/images");

await buildDashboard((line) => console.log(line));
const server = await startTestPostgres("screenshots");
Deno.env.set("TUNEBASE_TEST_DB_URL", server.url);
const tunebase = await startTunebase();
const browser = await startChromium();
try {
  await Deno.mkdir(images, { recursive: true });
  await tunebase.sql`update tunebase.base_models set tokens_per_second = 9000,
    gpu_config = '{"gpu_type": "A100-80GB", "num_gpus": 1, "gpu_memory_gb": 80, "cost_per_gpu_hour": 1.89}'`;
  const user = await tunebase.user("ada@example.com");
  await tunebase
    .sql`update tunebase.projects set name = 'Support' where id = ${user.projectId}`;
  const text = await Deno.readTextFile(
    join(root, "examples/support-train.jsonl"),
  );
  const file = await user.openai.files.create({
    file: new File([text], "support.jsonl"),
    purpose: "fine-tune",
  });
  const make = async (suffix: string, n_epochs: number) => {
    const body = {
      model: "SmolLM2-135M-Instruct",
      training_file: file.id,
      suffix,
      spend_cap_usd: 2,
    };
    return await user.openai.fineTuning.jobs.create({
      ...body,
      hyperparameters: { n_epochs },
    });
  };
  const claim = async (job: { id: string }) => {
    await tunebase.tick();
    const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
    await worker.claim();
    return worker;
  };
  const done = await make("triage-v1", 2);
  const first = await claim(done);
  await first.report({ metrics: run(1, 64, 64), current_step: 64, total_steps: 64, progress: 99 });
  await first.finishWithAdapter();
  const { fine_tuned_model: model } = await user.openai.fineTuning.jobs.retrieve(done.id);
  tunebase.inference.answer = (request) =>
    complete(
      isTuned(request) ? ['{"category":', '"billing",', '"urgency":', '"medium",', '"next":', '"refund"}'] : [
        "I'm sorry ",
        "about the discount. ",
        "Could you send me ",
        "your invoice, ",
        "and say when Marta ",
        "promised it?",
      ],
      { delayMs: 40 },
    )(request);
  const failed = await make("long-answers", 3);
  await (await claim(failed)).fail("out_of_memory");
  const job = await make("triage-v2", 20);
  const worker = await claim(job);
  const now = {
    current_step: 410,
    total_steps: steps,
    current_epoch: 12.8,
    total_epochs: 20,
    progress: 64,
  };
  await worker.report({
    stage: "loading_model",
    progress: 3,
    events: [say("Loading SmolLM2-135M-Instruct in NF4")],
  });
  await worker.report({
    metrics: run(1, 400, steps),
    events: [say("252 rows, 61,834 tokens per epoch")],
  });
  await worker.checkpoint(400, now);
  await worker.report({
    ...now,
    metrics: run(401, 410, steps),
    trained_tokens: 792_000,
    seconds_left: 214,
  });
  await tunebase
    .sql`update tunebase.jobs set cost_usd = 0.1127, started_at = now() - interval '9 minutes'
    where suffix = 'triage-v2'`;
  await make("night-run", 3);

  for (const colorScheme of ["light", "dark"] as const) {
    await using visitor = await openDashboard(browser, tunebase, {
      user,
      colorScheme,
    });
    const { page } = visitor;
    const shoot = (name: string) => page.screenshot({ path: join(images, `${name}-${colorScheme}.png`) });
    await page.getByText("triage-v2").waitFor();
    await page.getByRole("link", { name: "New fine-tune" }).waitFor();
    await shoot("jobs");
    await visitor.go(`jobs/${job.id}`);
    await page.locator('[data-connection="live"]').waitFor();
    await page.setViewportSize({ width: 1280, height: 1240 });
    await page.waitForTimeout(500); // charts resize
    await shoot("job");
    await page.setViewportSize({ width: 1280, height: 1100 });
    await visitor.go(`new?training_file=${file.id}&n_epochs=4`);
    await page.getByText("GPU memory", { exact: true }).waitFor();
    await page.waitForTimeout(500);
    await shoot("new");
    await visitor.go(`playground?${new URLSearchParams({ model: model ?? "" })}`);
    await page.getByRole("button", { name: "Pick a row" }).click();
    await page.getByText("Row 3", { exact: true }).click();
    await page.keyboard.press("Enter");
    await page.getByText("tokens in").nth(1).waitFor();
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.waitForTimeout(300);
    await shoot("playground");
    await page.setViewportSize({ width: 1280, height: 1100 });
    if (Deno.args.includes("--all")) {
      for (
        const path of [
          `jobs/${done.id}`,
          `jobs/${failed.id}`,
          `files/${file.id}`,
          "files",
          "models",
          "usage",
        ]
          .concat(
            [
              "evaluations",
              "evaluations/new",
              "completions",
              `compare?jobs=${done.id},${job.id}`,
              "keys",
              "webhooks",
              "project",
              "status",
              "notifications",
            ],
          )
      ) {
        await visitor.go(path);
        await page.waitForTimeout(300);
        await page.screenshot({
          path: `/tmp/shots/${path.replaceAll("/", "-")}-${colorScheme}.png`,
          fullPage: true,
        });
      }
      await page.setViewportSize({ width: 390, height: 800 });
      for (
        const path of [`jobs/${job.id}`, `jobs/${done.id}`, "jobs", "new", "playground", "keys", "project"]
      ) {
        await visitor.go(path);
        await page.waitForTimeout(300);
        await page.screenshot({
          path: `/tmp/shots/narrow-${path.replaceAll("/", "-")}-${colorScheme}.png`,
          fullPage: true,
        });
      }
    }
  }
  console.log(`written: ${images}`);
} finally {
  await browser.close();
  await tunebase.close();
  await server.stop();
}

function say(message: string) {
  return { level: "info", message };
}

/** A realistic run: a falling, noisy loss with occasional validations. */
function run(from: number, to: number, total: number) {
  return Array.from({ length: to - from + 1 }, (_, n) => {
    const step = from + n;
    const noise = Math.sin(step * 12.9898) * 43758.5453 % 1;
    const loss = 0.12 + 2.3 * Math.exp(-step / (total / 9)) + 0.08 * noise;
    return {
      ...FakeWorker.metric(step, Math.max(0.02, loss)),
      epoch: step / 32,
      validation_loss: step % 32 === 0 ? 0.2 + 2.2 * Math.exp(-step / (total / 9)) : null,
      learning_rate: 5e-4 * Math.min(1, step / 20) *
        (1 + Math.cos(Math.PI * step / total)) / 2,
      gradient_norm: 0.5 + 1.5 * Math.exp(-step / 80) + 0.15 * noise,
      tokens_per_second: 9100 + 240 * noise,
      gpu_utilization: 91 + 4 * noise,
      gpu_memory_gb: 17.2 + 0.2 * noise,
    };
  });
}
