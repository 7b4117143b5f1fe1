/** GET /metrics: access, counts, and that the Grafana dashboard and the alerting rules use only existing metrics. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import * as z from "zod";
import { operator } from "../../cli/operator.ts";
import { join } from "../../local/paths.ts";
import { root } from "../../local/state_dir.ts";
import {
  installationMetric,
  installationMetricNames,
} from "../../supabase/functions/_shared/contracts/installation_metrics.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { version } from "../../supabase/functions/_shared/version.ts";
import { renderMetrics } from "../../supabase/functions/tunebase/metrics/render.ts";
import { vllmError } from "../support/fake_inference.ts";
import { createJob, FakeWorker, latestAttempt, trainedJob } from "../support/fake_worker.ts";
import { createOneOfEverything } from "../support/fixtures.ts";
import { labelsIn, metricsIn, parsePrometheus } from "../support/prometheus.ts";
import { startTunebase } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const secret = await operator(["metrics-secret"], tunebase.keys.masterKey);

const get = (token: string | null) =>
  fetch(`${tunebase.url}/functions/v1/tunebase/metrics`, {
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
  });

async function scrape() {
  const response = await get(secret);
  assertEquals(response.status, 200);
  const metrics = parsePrometheus(await response.text());
  return {
    metrics,
    value(name: string, labels: Record<string, string> = {}): number | undefined {
      return metrics.get(name)?.samples.find((sample) =>
        Object.entries(labels).every(([label, value]) => sample.labels[label] === value)
      )?.value;
    },
  };
}

Deno.test("only the metrics secret grants access", async () => {
  const ada = await tunebase.user();
  const code = async (token: string | null) => {
    const response = await get(token);
    return [response.status, (await response.json()).error.code];
  };
  assertEquals(await code(null), [401, "missing_api_key"]);
  const others = [
    ada.apiKey,
    ada.accessToken,
    deriveSecret(tunebase.keys.masterKey, "scheduler"),
    `${secret}x`,
  ];
  for (const token of others) assertEquals(await code(token), [401, "invalid_token"]);
  const response = await get(secret);
  await response.body?.cancel();
  assertEquals(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  assert(!JSON.stringify(tunebase.logs).includes(secret));
});

Deno.test("an empty installation exports every metric's description, and zeros for known label values", async () => {
  const { metrics, value } = await scrape();
  assertEquals([...metrics.keys()], installationMetricNames);
  for (const [name, { type, help }] of metrics) {
    const declared = installationMetricNames.find((one) => one === name);
    assert(declared !== undefined);
    assertEquals({ type, help }, {
      type: installationMetric(declared).type,
      help: installationMetric(declared).help,
    });
  }
  assertEquals(value("tunebase_build_info", { version }), 1);
  assertEquals(value("tunebase_jobs_failed_total", { code: "out_of_memory" }), 0);
  assertEquals(value("tunebase_attempts_ended_total", { outcome: "lost" }), 0);
  assertEquals(value("tunebase_jobs", { status: "queued", base_model: "SmolLM2-135M-Instruct" }), 0);
  assertEquals(value("tunebase_month_spend_usd", { kind: "training" }), 0);
});

Deno.test("names follow Prometheus's conventions", () => {
  for (const name of installationMetricNames) {
    const { type, help } = installationMetric(name);
    assertEquals(name.endsWith("_total"), type === "counter", name);
    assert(/^[A-Z]/.test(help) && !help.endsWith("."), help);
    assert(!/_(ms|minutes|hours|count|percent|kb|mb)(_|$)/.test(name), name);
  }
});

Deno.test("label values are escaped", () => {
  const text = renderMetrics({ tunebase_alerts: [{ kind: 'a "b"\\\n{c}', value: 1e-7 }] });
  assertStringIncludes(text, 'tunebase_alerts{kind="a \\"b\\"\\\\\\n{c}"} 1e-7\n');
  assertEquals(parsePrometheus(text).get("tunebase_alerts")?.samples, [{
    labels: { kind: 'a "b"\\\n{c}' },
    value: 1e-7,
  }]);
});

Deno.test("metrics count what happened, and every one has a sample", async () => {
  const ada = await tunebase.user();
  await createOneOfEverything(tunebase, ada);
  // A price, to spend something.
  await sql`update tunebase.base_models set gpu_config = gpu_config || '{"cost_per_gpu_hour": 3600, "num_gpus": 2}'`;
  await sql`update tunebase.projects set spend_cap_usd = null`;
  const trained = await trainedJob(tunebase, ada);
  const [spent] = await sql`select sum(cost_usd)::float8 as usd from tunebase.attempts`;
  const running = await createJob(ada);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, running)).id);
  await worker.claim();
  await worker.report();
  const waiting = await createJob(ada);
  await sql`update tunebase.jobs set queued_at = now() - interval '90 seconds', due_at = now() + interval '1 hour'
    where replace(id::text, '-', '') = ${waiting.id.replace("ftjob-", "")}`;
  const failing = await createJob(ada);
  await sql`select tunebase_internal.fail_job(id, 'out_of_memory', 'm', 'h') from tunebase.jobs
    where replace(id::text, '-', '') = ${failing.id.replace("ftjob-", "")}`;
  const messages = [{ role: "user" as const, content: "hi" }];
  const ask = (stream: boolean) =>
    ada.fetch("/chat/completions", {
      method: "POST",
      body: JSON.stringify({ model: "SmolLM2-135M-Instruct", messages, stream }),
    }).then((response) => response.text());
  await ask(true);
  const { answer } = tunebase.inference;
  tunebase.inference.answer = () => vllmError(500, "It broke.", "internal");
  await ask(false);
  tunebase.inference.answer = answer;
  await ada.fetch("/evaluations", {
    method: "POST",
    body: JSON.stringify({ models: [trained.fine_tuned_model], file: trained.training_file }),
  }).then((response) => response.text());
  await sql`select tunebase_internal.raise_alert('unknown_status', 'r1', 'm')`;
  await sql`insert into tunebase_internal.trigger_failures (trigger, type, error) values ('t', 'x', 'e')`;

  const { metrics, value } = await scrape();
  const model = { base_model: "SmolLM2-135M-Instruct" };
  assertEquals(value("tunebase_jobs", { status: "queued", ...model }), 1);
  assertEquals(value("tunebase_jobs", { status: "running", ...model }), 1);
  const waited = value("tunebase_queue_oldest_wait_seconds", model) ?? 0;
  assert(waited >= 90 && waited < 120, `${waited}`);
  assertEquals(value("tunebase_jobs_finished_total", { status: "succeeded" }), 2);
  assertEquals(value("tunebase_jobs_finished_total", { status: "failed" }), 1);
  assertEquals(value("tunebase_jobs_failed_total", { code: "out_of_memory" }), 1);
  assertEquals(value("tunebase_attempts", { state: "running" }), 1);
  assertEquals(value("tunebase_attempts_ended_total", { outcome: "succeeded" }), 2);
  assert((value("tunebase_gpu_seconds_total") ?? 0) > 0);
  assert((value("tunebase_month_spend_usd", { kind: "training" }) ?? 0) >= spent?.usd && spent?.usd > 0);
  const failures = metrics.get("tunebase_inference_failures_total")?.samples ?? [];
  assertEquals(failures.reduce((sum, sample) => sum + sample.value, 0), 1);
  assertEquals(
    value("tunebase_inference_requests_total"),
    (await sql`select count(*)::int as n from tunebase.inference_requests where status <> 'open'`)[0]?.n,
  );
  assert((value("tunebase_inference_tokens_total", { kind: "completion" }) ?? 0) >= 3);
  assertEquals(metrics.get("tunebase_inference_first_token_seconds")?.samples.map(({ labels }) => labels), [
    { quantile: "0.5" },
    { quantile: "0.95" },
    { quantile: "0.99" },
  ]);
  assertEquals(value("tunebase_evaluations_running"), 1);
  assertEquals(value("tunebase_alerts", { kind: "unknown_status" }), 1);
  assertEquals(value("tunebase_trigger_failures"), 1);
  assert((value("tunebase_scheduler_ticks_total") ?? 0) >= 3);
  const age = Date.now() / 1000 - (value("tunebase_scheduler_last_tick_timestamp_seconds") ?? 0);
  assert(age >= 0 && age < 60, `${age}`);
  const empty = [...metrics].filter(([, { samples }]) => samples.length === 0).map(([name]) => name);
  assertEquals(empty, []);
  for (const name of installationMetricNames) {
    const declared = [...installationMetric(name).labels ?? []].sort();
    for (const { labels } of metrics.get(name)?.samples ?? []) {
      assertEquals(Object.keys(labels).sort(), declared, name);
      assert(Object.values(labels).every((label) => label !== ""), name);
    }
  }
  const identifiers = [ada.projectId, ada.id, ada.projectId.replaceAll("-", "")];
  assert(!identifiers.some((id) => JSON.stringify([...metrics]).includes(id)));
});

Deno.test("counters do not decrease when a run ends", async () => {
  const ada = await tunebase.user();
  await sql`update tunebase.projects set spend_cap_usd = null`;
  const counters = async () => {
    const { metrics } = await scrape();
    return [...metrics].filter(([, { type }]) => type === "counter").flatMap(([name, { samples }]) =>
      samples.map(({ labels, value }) => [`${name} ${JSON.stringify(labels)}`, value] as const)
    );
  };
  const job = await createJob(ada);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  const before = await counters();
  await worker.finishWithAdapter();
  const after = new Map(await counters());
  assertEquals(before.filter(([name, value]) => (after.get(name) ?? -1) < value), []);
});

Deno.test("spending counts from the start of the month, and counters from the start of the day", async () => {
  const before = await scrape();
  await sql`update tunebase.attempts set started_at = started_at - interval '40 days', ended_at = ended_at - interval '40 days'
    where state = 'ended'`;
  await sql`update tunebase.jobs set finished_at = finished_at - interval '1 day' where finished_at is not null`;
  const { value } = await scrape();
  assert((before.value("tunebase_month_spend_usd", { kind: "training" }) ?? 0) > 0);
  const [live] =
    await sql`select coalesce(sum(cost_usd), 0)::float8 as usd from tunebase.attempts where state <> 'ended'`;
  assertEquals(value("tunebase_month_spend_usd", { kind: "training" }), live?.usd);
  assertEquals(value("tunebase_attempts_ended_total", { outcome: "succeeded" }), 0);
  assertEquals(value("tunebase_jobs_finished_total", { status: "succeeded" }), 0);
});

const Dashboard = z.object({
  panels: z.array(z.object({
    title: z.string(),
    type: z.string(),
    targets: z.array(z.object({ expr: z.string(), legendFormat: z.string() })).default([]),
  })),
});

function unknownIn(query: string): string[] {
  const names = metricsIn(query);
  if (names.length === 0) return [`no metric in ${query}`];
  const declared = names.map((name) => installationMetricNames.find((one) => one === name));
  const labels = declared.flatMap((name) => name === undefined ? [] : installationMetric(name).labels ?? []);
  return [
    ...names.filter((_, i) => declared[i] === undefined),
    ...labelsIn(query).filter((label) => !labels.includes(label)).map((label) => `${label} in ${query}`),
  ];
}

Deno.test("each panel of the Grafana dashboard queries existing metrics and labels", async () => {
  const text = await Deno.readTextFile(join(root, "docs/grafana-dashboard.json"));
  const { panels } = Dashboard.parse(JSON.parse(text));
  const shown = panels.filter(({ type }) => type !== "row");
  assert(shown.length > 20);
  for (const { title, targets } of shown) {
    assert(targets.length > 0, title);
    for (const { expr, legendFormat } of targets) {
      assertEquals(unknownIn(expr), [], title);
      const labels = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = ""]) => label);
      const declared = installationMetricNames.filter((name) => metricsIn(expr).includes(name))
        .flatMap((name): readonly string[] => installationMetric(name).labels ?? []);
      assertEquals(labels.filter((label) => !declared.includes(label)), [], title);
    }
  }
  const used = new Set(shown.flatMap(({ targets }) => targets.flatMap(({ expr }) => metricsIn(expr))));
  assertEquals(installationMetricNames.filter((name) => !used.has(name)), [], "metrics without a panel");
});

Deno.test("the documented alerting rules query existing metrics", async () => {
  const page = await Deno.readTextFile(join(root, "docs/monitoring.md"));
  const expressions = [...page.matchAll(/^ +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)/gm)].map((
    [, folded, line],
  ) => (folded ?? line ?? "").trim());
  assert(expressions.length > 6);
  for (const query of expressions.filter((query) => !query.startsWith("up{"))) {
    assertEquals(unknownIn(query), []);
  }
});
