/** Both emulated platforms at one address, as `task deploy --target emulators` starts them. */
import { assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { removePlatforms, startPlatforms } from "../../local/emulators/platforms.ts";
import { exists } from "../../local/paths.ts";

Deno.test("both accounts are served at one address, which the next start keeps", async () => {
  const home = await Deno.makeTempDir();
  const first = await startPlatforms({ home, log: () => {} });
  const status = async (url: string, token: string) => {
    const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
    await response.body?.cancel();
    return response.status;
  };
  const { target } = first;
  assertEquals(await status(`${target.supabaseApi}/v1/projects`, first.supabaseToken), 200);
  assertEquals(await status(`${target.supabaseApi}/v1/projects`, first.runpodKey), 401);
  assertEquals(await status(`${target.runpodRest}/serverless`, first.runpodKey), 200);
  assertEquals(await status(`${target.runpodRest}/serverless`, first.supabaseToken), 401);

  const error = await assertRejects(() => startPlatforms({ home, log: () => {} }), Error);
  assertStringIncludes(error.message, "in use by another command");
  await assertRejects(() => removePlatforms(home), Error);
  await first.stop();

  const second = await startPlatforms({ home, log: () => {} });
  assertEquals(JSON.stringify(second.target), JSON.stringify(target));
  assertEquals([second.supabaseToken, second.runpodKey], [first.supabaseToken, first.runpodKey]);
  await second.stop();
  await removePlatforms(home);
  assertEquals(await exists(home), false);
});
