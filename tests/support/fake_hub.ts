/** A fake of the Hugging Face hub: models' records and files. Files of gated models need the token. */

export interface FakeHubModel {
  sha: string;
  gated?: false | "auto" | "manual";
  files: Record<string, string>;
  /** Names of files that were added after the commit `sha`. */
  laterFiles?: string[];
  tags?: string[];
  /** All safetensors' parameters. */
  parameters?: number;
}

export function startFakeHub(models: Record<string, FakeHubModel>, token = "hf_token") {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { pathname } = new URL(request.url);
    const authorized = request.headers.get("authorization") === `Bearer ${token}`;
    const [, api, commit] = /^\/api\/models\/(.+?)(?:\/revision\/([^/]+))?$/.exec(pathname) ?? [];
    const [, id = "", revision, file = ""] = /^\/(.+)\/resolve\/([^/]+)\/(.+)$/.exec(pathname) ?? [];
    const model = models[api ?? id];
    // As the hub does not say which ids are private.
    if (model === undefined) {
      return Response.json({ error: "Repository not found" }, { status: authorized ? 404 : 401 });
    }
    const { sha, gated = false, files, laterFiles = [], tags = [], parameters } = model;
    if (api !== undefined) {
      return Response.json({
        id: api,
        sha,
        gated,
        tags,
        siblings: [...Object.keys(files), ...(commit === sha ? [] : laterFiles)].map((rfilename) => ({
          rfilename,
        })),
        ...(parameters === undefined ? {} : { safetensors: { total: parameters } }),
      });
    }
    if (gated !== false && !authorized) {
      return Response.json({ error: "Access is restricted" }, { status: 401 });
    }
    const text = revision === sha ? files[file] : undefined;
    return text === undefined
      ? Response.json({ error: "Entry not found" }, { status: 404 })
      : new Response(text);
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    models,
    async [Symbol.asyncDispose]() {
      await server.shutdown();
    },
  };
}
