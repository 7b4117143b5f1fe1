/** The schedules of the emulated pg_cron. */
import { assertEquals, assertRejects } from "#assert";
import { parseSchedule } from "../../local/emulators/supabase/cron_schedule.ts";

const at = (text: string) => new Date(`${text}Z`);
const isDue = (schedule: string, last: string, now: string) =>
  parseSchedule(schedule).isDue(at(last), at(now));

Deno.test("seconds count from the last start", () => {
  assertEquals(isDue("10 seconds", "2026-11-30T10:00:00", "2026-11-30T10:00:09.999"), false);
  assertEquals(isDue("10 seconds", "2026-11-30T10:00:00", "2026-11-30T10:00:10"), true);
  assertEquals(isDue("1 second", "2026-11-30T10:00:00", "2026-11-30T10:00:01"), true);
});

Deno.test("a job of five fields is due once in each matching minute", () => {
  assertEquals(isDue("17 * * * *", "2026-11-30T10:00:00", "2026-11-30T10:17:00"), true);
  assertEquals(isDue("17 * * * *", "2026-11-30T10:17:00", "2026-11-30T10:17:30"), false);
  assertEquals(isDue("17 * * * *", "2026-11-30T10:00:00", "2026-11-30T10:18:00"), false);
  assertEquals(isDue("*/15 8-10 * * *", "2026-11-30T10:00:00", "2026-11-30T10:45:00"), true);
  assertEquals(isDue("*/15 8-10 * * *", "2026-11-30T10:00:00", "2026-11-30T11:45:00"), false);
  assertEquals(isDue("0 3 1,30 nov *", "2026-11-29T10:00:00", "2026-11-30T03:00:00"), true);
  // A Monday.
  assertEquals(isDue("0 3 * * mon", "2026-11-29T10:00:00", "2026-11-30T03:00:00"), true);
  assertEquals(isDue("0 3 * * 7", "2026-11-29T10:00:00", "2026-11-30T03:00:00"), false);
  assertEquals(isDue("0 3 13 * mon", "2026-11-29T10:00:00", "2026-11-30T03:00:00"), true, "day or weekday");
});

Deno.test("schedules that pg_cron rejects are rejected", async () => {
  for (
    const schedule of ["", "* * * *", "60 * * * *", "* * * * * *", "5-x * * * *", "*/0 * * * *", "a * * * *"]
  ) {
    await assertRejects(() => Promise.resolve().then(() => parseSchedule(schedule)), RangeError);
  }
});
