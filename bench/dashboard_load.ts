/**
 * The dashboard: the bytes of the first load, and the time until a job's page with 100,000 logged steps is complete, in a
 * real Chromium without cache.
 */
import { createClient } from "@supabase/supabase-js";
import { gzipSync } from "node:zlib";
import { buildDashboard } from "../local/commands/dashboard.ts";
import { dashboardFiles } from "../local/stack/dashboard.ts";
import { join } from "../local/paths.ts";
import { startChromium } from "../tests/support/chromium.ts";
import { openDashboard } from "../tests/support/browser_session.ts";
import { holdAttempts } from "./attempts.ts";
import { median, type RawMeasurement, type Size } from "./results.ts";
import { startBenchStack } from "./harness.ts";

const mostBytes = 200_000;
const mostMs = 1000;
const sizes = { full: { steps: 100_000, visits: 15 }, short: { steps: 1000, visits: 1 } };

/** A file in Vite's manifest. */
interface Made {
  file: string;
  css?: string[];
  imports?: string[];
}

/** index.html and the files it loads before the first render; gzip level 6, as servers use. */
export async function pageBytes(log: (line: string) => void): Promise<RawMeasurement[]> {
  await buildDashboard(log);
  const manifest: Record<string, Made> = JSON.parse(
    await Deno.readTextFile(join(dashboardFiles, ".vite/manifest.json")),
  );
  const weigh = async (entries: string[], but: Set<string>) => {
    const names = new Set<string>();
    const seen = new Set<string>();
    const follow = (key: string) => {
      const made = manifest[key];
      if (made === undefined) throw new Error(`The dashboard's manifest has no ${key}.`);
      if (seen.has(key)) return;
      seen.add(key);
      for (const name of [made.file, ...made.css ?? []]) if (!but.has(name)) names.add(name);
      for (const each of made.imports ?? []) follow(each);
    };
    entries.forEach(follow);
    const sizes = await Promise.all(
      Array.from(names, async (name) => gzipSync(await Deno.readFile(join(dashboardFiles, name))).length),
    );
    return { names, bytes: sizes.reduce((sum, size) => sum + size, 0) };
  };
  const first = await weigh(["index.html"], new Set());
  const html = gzipSync(await Deno.readFile(join(dashboardFiles, "index.html"))).length;
  const job = await weigh(["src/features/jobs/job_page.tsx"], first.names);
  log(`a job's page loads another ${(job.bytes / 1000).toFixed(1)} kB, charts and all`);
  const bytes = first.bytes + html;
  return [{
    value: bytes / 1000,
    unit: "kB of the first load, gzip",
    against: `the limit, ${mostBytes / 1000} kB`,
    ratio: mostBytes / bytes,
    goal: 1,
  }];
}

export async function pageReady(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const { steps, visits } = sizes[size];
  await buildDashboard(log);
  const bench = await startBenchStack({ cronSeconds: 3600 });
  const browser = await startChromium();
  try {
    const { stack } = bench;
    const [held] = await holdAttempts(bench, 1);
    if (held === undefined) throw new Error("no attempt is held");
    const [job] = await stack.sql`select j.* from tunebase.jobs j join tunebase.attempts a on a.job_id = j.id
      where a.id = ${held.id}`;
    await stack.sql`
      insert into tunebase.metrics (job_id, step, project_id, attempt, epoch, training_loss, validation_loss,
        learning_rate, gradient_norm, tokens_per_second, gpu_utilization, gpu_memory_gb)
      select ${job?.id}, s, ${job?.project_id}, 1, s / 50000.0, 0.1 + 100.0 / (s + 50) + random() / 10,
        case when s % 5000 = 0 then 0.2 + 100.0 / (s + 50) end, 1e-4, 1 + random(), 9000 + 100 * random(), 95, 40
      from generate_series(1, ${steps}) s`;
    await stack.sql`
      insert into tunebase.events (job_id, project_id, number, level, type, message, data)
      select ${job?.id}, ${job?.project_id}, ${job?.last_event} + s, 'info', 'metrics', 'Step ' || s,
        jsonb_build_object('step', s, 'training_loss', 0.1)
      from generate_series(1, ${steps}) s`;
    await stack.sql`update tunebase.jobs set last_event = last_event + ${steps}, current_step = ${steps},
      total_steps = ${2 * steps} where id = ${job?.id}`;
    await stack.sql`analyze`;

    const { account } = stack.keys;
    if (account === undefined) throw new Error("the bench stack has no account");
    const supabase = createClient(stack.url, stack.keys.publishableKey, {
      auth: { persistSession: false, autoRefreshToken: false },
    });
    const { error } = await supabase.auth.signInWithPassword(account);
    if (error !== null) throw error;
    const path = `jobs/ftjob-${String(job?.id).replaceAll("-", "")}`;
    const alone: number[] = [];
    for (let n = 0; n < 7; n++) {
      const begin = performance.now();
      const url = `${stack.url}/functions/v1/tunebase/fine_tuning/${path}/metrics?points=1000`;
      await (await fetch(url, { headers: { authorization: `Bearer ${account.apiKey}` } })).json();
      alone.push(performance.now() - begin);
    }
    log(`the figures alone, from the API: ${median(alone).toFixed(0)} ms`);
    const times: number[] = [];
    for (let n = size === "full" ? -2 : 0; n < visits; n++) {
      await using visitor = await openDashboard(browser, stack, { user: { supabase }, path, script: watch });
      await visitor.page.locator("html[data-ready]").waitFor();
      const ms = Number(await visitor.page.locator("html").getAttribute("data-ready"));
      if (n >= 0) times.push(ms); // the first two hit cold functions
    }
    log(`${visits} visits: ${Math.min(...times).toFixed(0)} to ${Math.max(...times).toFixed(0)} ms`);
    const value = median(times);
    return [{
      value,
      unit: "ms from the address to a job's page with its charts drawn and the main thread free, median",
      against: `the limit, ${mostMs} ms`,
      ratio: mostMs / value,
      goal: 1,
    }];
  } finally {
    await browser.close();
    await bench.close();
  }
}

/** Runs in the page: the time until the charts exist, two frames are drawn and a task has run. */
const watch = `
  new MutationObserver((_, observer) => {
    if (document.querySelector("[data-points] canvas") === null) return;
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() =>
      document.documentElement.setAttribute("data-ready", String(performance.now())))));
  }).observe(document, { subtree: true, childList: true });`;
