/** A worker that implements RunPod's pull protocol and returns its environment and the input of each run. */
const env = Deno.env.toObject();
const id = env.RUNPOD_POD_ID ?? "";
const headers = { authorization: `Bearer ${env.RUNPOD_AI_API_KEY}` };
Deno.addSignalListener("SIGTERM", () => Deno.exit(0));

for (;;) {
  const response = await fetch((env.RUNPOD_WEBHOOK_GET_JOB ?? "").replace("$ID", id), { headers });
  if (response.status !== 200) {
    await response.body?.cancel();
    continue;
  }
  const job = await response.json();
  await new Promise((resolve) => setTimeout(resolve, job.input.ms ?? 0));
  const url = (env.RUNPOD_WEBHOOK_POST_OUTPUT ?? "").replace("$RUNPOD_POD_ID", id).replace("$ID", job.id);
  const output = { worker: id, greeting: env.GREETING, cache: env.CACHE, endpoint: env.RUNPOD_ENDPOINT_ID };
  await (await fetch(url, { method: "POST", headers, body: JSON.stringify({ output }) })).body?.cancel();
}
