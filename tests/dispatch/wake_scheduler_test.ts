/** The functions' scheduler wake-ups, sent to a server in the scheduler's place. */
import { assertEquals, assertRejects } from "#assert";
import { readSettings } from "../../supabase/functions/_shared/platform.ts";
import { wakeScheduler } from "../../supabase/functions/_shared/wake_scheduler.ts";

interface Tick {
  answer(status: number): void;
}

/** `ticks`: the calls so far, each of which waits for `answer`. */
async function withScheduler(
  work: (ticks: Tick[], wake: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const ticks: Tick[] = [];
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () =>
      new Promise((resolve) => ticks.push({ answer: (status) => resolve(Response.json({}, { status })) })),
  );
  const settings = readSettings({
    get: (name) =>
      ({
        SUPABASE_URL: `http://127.0.0.1:${server.addr.port}`,
        TUNEBASE_MASTER_KEY: btoa("k".repeat(32)),
      })[name],
  });
  await work(ticks, () => wakeScheduler(settings));
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !isTrue(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assertEquals(isTrue(), true);
}

Deno.test("changes during a tick share the next wake-up, which starts after all of them", async () => {
  await withScheduler(async (ticks, wake) => {
    const first = wake();
    await until(() => ticks.length === 1);
    const others = Array.from({ length: 50 }, wake);
    ticks[0]?.answer(200);
    await first;
    await until(() => ticks.length === 2);
    ticks[1]?.answer(200);
    await Promise.all(others);
    // Nothing is in flight: the next is sent at once.
    const last = wake();
    await until(() => ticks.length === 3);
    ticks[2]?.answer(200);
    await last;
    assertEquals(ticks.length, 3);
  });
});

Deno.test("a long tick delays the next wake-up only briefly", async () => {
  await withScheduler(async (ticks, wake) => {
    const first = wake();
    await until(() => ticks.length === 1);
    const second = wake();
    await until(() => ticks.length === 2); // without an answer to the first
    ticks[1]?.answer(200);
    await second;
    ticks[0]?.answer(200);
    await first;
  });
});

Deno.test("a failed wake-up is reported once and does not stop the next", async () => {
  await withScheduler(async (ticks, wake) => {
    const first = wake();
    await until(() => ticks.length === 1);
    const second = wake();
    ticks[0]?.answer(500);
    await assertRejects(() => first, Error, "waking the scheduler failed with status 500");
    await until(() => ticks.length === 2);
    ticks[1]?.answer(200);
    await second;
  });
});
