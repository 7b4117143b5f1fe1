/** The emulator of RunPod's REST API v2: its rules, the account on disk, and endpoints that run workers. */
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "#assert";
import { join } from "../../local/paths.ts";
import { pause } from "../../local/stack/processes.ts";
import { checkExchanges, hasDescription } from "./published_api.ts";
import { type Exchange, startRunpodAccount } from "./runpod_account.ts";

const exchanges: Exchange[] = [];
async function start(...options: Parameters<typeof startRunpodAccount>) {
  const run = await startRunpodAccount(...options);
  return {
    ...run,
    async [Symbol.asyncDispose]() {
      exchanges.push(...run.exchanges);
      await run[Symbol.asyncDispose]();
    },
  };
}

async function until<T>(what: string, done: () => Promise<T | false>, ms = 20_000): Promise<T> {
  for (const end = performance.now() + ms;;) {
    const found = await done();
    if (found !== false) return found;
    assert(performance.now() < end, `${what} did not happen within ${ms} ms`);
    await pause(50);
  }
}

const queue = {
  name: "trainer",
  type: "QUEUE",
  image: "ghcr.io/org/trainer:1",
  gpu: { pools: ["AMPERE_80", "ADA_80_PRO"], minCudaVersion: "13.0" },
  workers: { min: 0, max: 2, idleTimeout: 1 },
  scaling: { type: "QUEUE_DELAY", queueDelay: 4 },
  env: { GREETING: "hello", CACHE: "/runpod-volume/hub" },
};
const balancer = {
  ...queue,
  name: "inference",
  type: "LOAD_BALANCER",
  scaling: { type: "REQUEST_COUNT", requestCount: 8 },
};

Deno.test("requests that violate the published schema or rules are rejected", async () => {
  await using run = await start({ maxWorkers: 4 });
  const rejected = async (status: number, detail: RegExp, path: string, body: unknown, method = "POST") => {
    const { body: error, type, ...response } = await run.ask(method, path, body);
    assertEquals([response.status, error.status, type], [status, status, "application/problem+json"]);
    const text = [error.detail, ...error.errors ?? []].join("\n");
    assert(detail.test(text), `${text} should match ${detail}`);
  };
  const volume = { name: "v", size: 50, dataCenter: "EU-RO-1" };
  await rejected(400, /not valid JSON/, "/serverless", "{");
  await rejected(422, /additional properties 'size_gb'/, "/network-volumes", { ...volume, size_gb: 5 });
  await rejected(422, /\$\.size/, "/network-volumes", { ...volume, size: 9 });
  await rejected(422, /\$\.dataCenter/, "/network-volumes", { name: "v", size: 50 });
  await rejected(400, /unknown data center/, "/network-volumes", { ...volume, dataCenter: "EU-RO-9" });
  await rejected(400, /no network volumes/, "/network-volumes", { ...volume, dataCenter: "US-TX-3" });
  await rejected(422, /\$\.password/, "/registries", { name: "r", username: "u" });
  await rejected(422, /'networkVolumes' not allowed/, "/templates", {
    name: "t",
    image: "i",
    networkVolumes: [],
  });

  const { image: _, ...withoutImage } = queue;
  const { gpu: __, ...withoutGpu } = queue;
  await rejected(422, /'image'/, "/serverless", withoutImage);
  await rejected(400, /exactly one of gpu and cpu/, "/serverless", withoutGpu);
  await rejected(400, /exactly one/, "/serverless", { ...queue, cpu: [{ id: "cpu5c", vcpuCount: 4 }] });
  await rejected(422, /'idleTimeout' not allowed/, "/serverless", { ...queue, idleTimeout: 5 });
  await rejected(422, /'ids' not allowed/, "/serverless", { ...queue, gpu: { ...queue.gpu, ids: ["a"] } });
  await rejected(422, /REQUEST_COUNT/, "/serverless", { ...balancer, scaling: queue.scaling });
  const scaling = balancer.scaling;
  await rejected(400, /idleTimeout does not apply/, "/serverless", { ...queue, scaling });
  const gpu = { ...queue.gpu, allowedCudaVersions: ["13.0"] };
  await rejected(400, /mutually exclusive/, "/serverless", { ...queue, gpu });
  await rejected(400, /unknown pool 'A100'/, "/serverless", { ...queue, gpu: { pools: ["A100"] } });
  await rejected(400, /not in the selected pools/, "/serverless", {
    ...queue,
    gpu: { pools: ["AMPERE_80"], excludedTypes: ["NVIDIA L4"] },
  });
  await rejected(400, /leaves no GPU/, "/serverless", {
    ...queue,
    gpu: { pools: ["HOPPER_141"], excludedTypes: [" NVIDIA H200"] },
  });
  await rejected(400, /volume 'none' not found/, "/serverless", { ...queue, networkVolumes: ["none"] });
  await rejected(400, /credential not found/, "/serverless", { ...queue, registry: "none" });
  await rejected(404, /template/, "/serverless", { ...withoutImage, templateId: "none" });
  await rejected(400, /workers quota \(4\); requested 5/, "/serverless", { ...queue, workers: { max: 5 } });
  await rejected(404, /endpoint not found/, "/serverless/none", { timeout: 5 }, "PATCH");
  await rejected(400, /sent together/, "/catalog/gpus?include=AVAILABILITY", undefined, "GET");
});

Deno.test("a read-only key cannot write, and an invalid key cannot read", async () => {
  await using run = await start();
  assertEquals((await run.ask("GET", "/serverless", undefined, "rpa_key_readonly")).status, 200);
  assertEquals((await run.ask("POST", "/serverless", queue, "rpa_key_readonly")).body, {
    title: "Forbidden",
    status: 403,
    detail: "access denied",
  });
  assertEquals((await run.ask("GET", "/serverless", undefined, "wrong")).status, 401);
});

Deno.test("the account is kept on disk, names may repeat, and secrets are not returned", async () => {
  const home = await Deno.makeTempDir();
  try {
    let ids: string[];
    {
      await using run = await start({ home });
      const volume = await run.ask("POST", "/network-volumes", {
        name: "v",
        size: 50,
        dataCenter: "EU-RO-1",
      });
      const registry = await run.ask("POST", "/registries", { name: "r", username: "u", password: "secret" });
      assertEquals(registry.body, { id: registry.body.id, name: "r" });
      const body = {
        ...queue,
        networkVolumes: [volume.body.id],
        registry: registry.body.id,
        dataCenterIds: ["EU-RO-1"],
      };
      const created = await Promise.all([1, 2].map(() => run.ask("POST", "/serverless", body)));
      ids = created.map(({ body }) => body.id);
      assertNotEquals(ids[0], ids[1]);
      assertEquals((await run.ask("DELETE", `/network-volumes/${volume.body.id}`)).status, 400);
      assertEquals((await run.ask("DELETE", `/registries/${registry.body.id}`)).status, 400);
      assertEquals((await run.ask("PATCH", `/network-volumes/${volume.body.id}`, { size: 40 })).status, 400);
      assertEquals(
        (await run.ask("PATCH", `/network-volumes/${volume.body.id}`, { size: 60 })).body.size,
        60,
      );
    }
    await using run = await start({ home });
    const { endpoints } = (await run.ask("GET", "/serverless")).body;
    assertEquals(endpoints.map(({ id }: { id: string }) => id), ids);
    assertEquals((await run.ask("DELETE", `/serverless/${ids[0]}`)).status, 204);
    assertEquals((await run.ask("GET", `/serverless/${ids[0]}`)).status, 404);
    assertEquals(((await Deno.stat(join(home, "runpod.json"))).mode ?? 0) & 0o077, 0);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("a PATCH replaces the environment, keeps omitted fields, and creates a release only for settings that workers see", async () => {
  await using run = await start();
  const template = await run.ask("POST", "/templates", {
    name: "t",
    image: "from-template",
    serverless: true,
    env: { A: "1", GREETING: "no" },
    allowedCudaVersions: ["12.8"],
  });
  const { image: _, ...body } = queue;
  const { body: endpoint } = await run.ask("POST", "/serverless", {
    ...body,
    templateId: template.body.id,
    gpu: { pools: ["AMPERE_80"], excludedTypes: ["NVIDIA A100 80GB PCIe"], minCudaVersion: "13.0" },
  });
  assertEquals([endpoint.image, endpoint.env, endpoint.gpu.allowedCudaVersions], [
    "from-template",
    { A: "1", ...queue.env },
    [],
  ]);
  const patch = async (changes: unknown) =>
    (await run.ask("PATCH", `/serverless/${endpoint.id}`, changes)).body;
  assertEquals((await patch({ gpu: { minCudaVersion: "" } })).gpu, {
    pools: ["AMPERE_80"],
    excludedTypes: ["NVIDIA A100 80GB PCIe"],
    count: 1,
    allowedCudaVersions: [],
    minCudaVersion: null,
  });
  assertEquals((await patch({ gpu: { pools: ["AMPERE_80", "HOPPER_141"] } })).gpu.excludedTypes, undefined);
  assertEquals((await patch({ env: { B: "2" } })).env, { B: "2" });
  assertEquals((await patch({ workers: { max: 1 } })).workers, { min: 0, max: 1, idleTimeout: 1 });
  const { releases, endpointVersion } = (await run.ask("GET", `/serverless/${endpoint.id}/releases`)).body;
  assertEquals([endpointVersion, releases.length], [4, 4]);
  assertEquals(releases[0].diff.map(({ field }: { field: string }) => field), ["env"]);
});

Deno.test("a queue endpoint runs workers with its environment, replaces and bills them, and scales to zero", async () => {
  await using run = await start();
  const volume = await run.ask("POST", "/network-volumes", { name: "v", size: 50, dataCenter: "EU-RO-1" });
  const { body: endpoint } = await run.ask("POST", "/serverless", {
    ...queue,
    networkVolumes: [volume.body.id],
  });
  const headers = { authorization: "Bearer rpa_key" };
  const base = `${run.url}/runpod/v2/${endpoint.id}`;
  assertEquals(endpoint.requestUrls.run, `${base}/run`);
  const work = async (input: unknown) => {
    const { id } =
      await (await fetch(`${base}/run`, { method: "POST", headers, body: JSON.stringify({ input }) })).json();
    return await until("the run's end", async () => {
      const status = await (await fetch(`${base}/status/${id}`, { headers })).json();
      return status.status === "COMPLETED" && status.output;
    });
  };
  const workers = async () => (await run.ask("GET", `/serverless/${endpoint.id}/workers`)).body;

  const running = work({ ms: 700 });
  const { workers: [worker] } = await until("a running worker", async () => {
    const found = await workers();
    return found.summary.running === 1 && found;
  });
  assertEquals([worker.isStale, worker.image, worker.version], [false, queue.image, 1]);
  // A new release waits for the run to end.
  await run.ask("PATCH", `/serverless/${endpoint.id}`, { env: { GREETING: "bye" } });
  assertEquals((await workers()).workers[0].isStale, true);
  const first = await running;
  assertEquals([first.greeting, first.endpoint], ["hello", endpoint.id]);
  assertEquals(first.cache, join(run.home, "volumes", volume.body.id, "hub"));
  const second = await work({ ms: 1 });
  assertEquals(second.greeting, "bye");
  assertNotEquals(second.worker, first.worker);
  await until("no worker", async () => (await workers()).summary.total === 0);

  const { records, metadata } = (await run.ask("GET", "/billing/serverless?bucketSize=hour&lastN=2")).body;
  assertEquals(records[0].serverlessId, endpoint.id);
  // Two workers of a few seconds on an A100.
  assert(metadata.totals.totalAmount > 0.5 / 3600 * 2.736 && metadata.totals.totalAmount < 60 / 3600 * 2.736);
  assertEquals((await fetch(`${run.url}/runpod/lb/${endpoint.id}/ping`, { headers })).status, 404);
  assertEquals((await fetch(`${base}/health`)).status, 401);
});

Deno.test("a load-balancing endpoint starts its worker with the first request", async () => {
  await using run = await start();
  const { body: endpoint } = await run.ask("POST", "/serverless", balancer);
  assertEquals(endpoint.requestUrls.base, `${run.url}/runpod/lb/${endpoint.id}`);
  const response = await fetch(`${endpoint.requestUrls.base}/v1/any?x=1`, {
    headers: { authorization: "Bearer rpa_key" },
  });
  assertEquals((await response.json()).path, "/v1/any?x=1");
  const { workers } = (await run.ask("GET", `/serverless/${endpoint.id}/workers`)).body;
  assertEquals(workers.map(({ status }: { status: string }) => status), ["IDLE"]);
  assertEquals((await run.ask("DELETE", `/serverless/${endpoint.id}`)).status, 204);
  assertEquals(run.account.workers(), []);
});

Deno.test("the catalog has prices per pool, and availability per data center", async () => {
  await using run = await start({ availability: (_, center) => center === "US-KS-2" ? "LOW" : "NONE" });
  const { gpus } = (await run.ask("GET", "/catalog/gpus?include=AVAILABILITY&product=SERVERLESS")).body;
  const a100 = gpus.find(({ pool }: { pool: string }) => pool === "AMPERE_80");
  assertEquals([a100.memory, a100.price.serverless, a100.availability], [80, 2.736, "LOW"]);
  assertEquals(a100.dataCenters.map(({ id }: { id: string }) => id), ["US-KS-2"]);
  const { dataCenters } = (await run.ask("GET", "/catalog/datacenters?include=GPU_AVAILABILITY")).body;
  assertEquals(dataCenters.length, 4);
  assertStringIncludes(JSON.stringify(dataCenters), '"EU-RO-1"');
});

Deno.test({
  name: "every exchange above matches RunPod's published description",
  ignore: !await hasDescription("runpod-rest-v2.json"),
  async fn() {
    assert(exchanges.length > 50, `only ${exchanges.length} exchanges were recorded`);
    assertEquals(await checkExchanges("runpod-rest-v2.json", exchanges), []);
  },
});
