/** A fake of the Hugging Face Hub's repositories: creating one, Git LFS in one request or in parts, and commits. */
import { createHash } from "node:crypto";

interface Repository {
  private: boolean;
  /** The main branch. */
  files: Map<string, Uint8Array>;
  commits: string[];
}

/** `partBytes`: larger objects are uploaded in parts. */
export function startFakeHubRepositories({ token = "hf_write", user = "ada", partBytes = 0 } = {}) {
  const repositories = new Map<string, Repository>();
  const objects = new Map<string, Uint8Array>();
  const parts = new Map<string, Uint8Array>();
  const requests: string[] = [];
  const problem = (status: number, error: string) => Response.json({ error }, { status });

  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname, origin } = new URL(request.url);
    requests.push(`${request.method} ${pathname}`);
    const authorization = request.headers.get("authorization");
    const [, oid = "", part] = /^\/storage\/([0-9a-f]+)(?:\/(\d+|complete))?$/.exec(pathname) ?? [];
    if (oid !== "") {
      // As S3 does: the URL is the permission, and a body without a length is rejected.
      if (authorization !== null) return problem(400, "only one way to authenticate is allowed");
      if (request.headers.get("content-length") === null) return problem(411, "length required");
      if (part === "complete") {
        const { parts: etags } = await request.json();
        const bytes = etags.map((one: { partNumber: number; etag: string }) => {
          const found = parts.get(`${oid}/${one.partNumber}`);
          if (found === undefined || one.etag !== `"${one.partNumber}"`) throw new Error("unknown part");
          return found;
        });
        objects.set(oid, new Uint8Array(await new Blob(bytes).arrayBuffer()));
        return Response.json({});
      }
      const bytes = new Uint8Array(await request.arrayBuffer());
      if (part === undefined) objects.set(oid, bytes);
      else parts.set(`${oid}/${part}`, bytes);
      return new Response(null, { headers: { etag: `"${part ?? "1"}"` } });
    }
    if (authorization === "Bearer hf_read") return problem(403, "You don't have the rights to do this");
    if (authorization !== `Bearer ${token}`) return problem(401, "Invalid username or password.");
    if (pathname === "/api/whoami-v2") {
      const accessToken = { displayName: "cli", role: "write", createdAt: "2026-01-01T00:00:00.000Z" };
      return Response.json({ type: "user", name: user, auth: { type: "access_token", accessToken } });
    }
    if (pathname === "/api/repos/create") {
      const { name, organization = user, visibility } = await request.json();
      const id = `${organization}/${name}`;
      if (repositories.has(id)) return problem(409, "You already created this model repo");
      repositories.set(id, { private: visibility === "private", files: new Map(), commits: [] });
      return Response.json({ url: `${origin}/${id}` });
    }
    const [, described = ""] = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/HEAD$/.exec(pathname) ?? [];
    if (repositories.has(described)) {
      return Response.json({ _id: "1", id: described, private: repositories.get(described)?.private });
    }
    const [, id = "", action] = /^\/api\/models\/([^/]+\/[^/]+)\/(preupload|commit)\/main$/.exec(pathname) ??
      /^\/([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/(batch)$/.exec(pathname) ?? [];
    const repository = repositories.get(id);
    if (repository === undefined) return problem(404, "Repository not found");
    if (action === "preupload") {
      const { files } = await request.json();
      return Response.json({
        files: files.map(({ path }: { path: string }) => ({
          path,
          uploadMode: path.endsWith(".safetensors") ? "lfs" : "regular",
          shouldIgnore: false,
        })),
      });
    }
    if (action === "batch") {
      const body: { objects: { oid: string; size: number }[] } = await request.json();
      return Response.json({
        objects: body.objects.map(({ oid, size }) => {
          if (objects.has(oid)) return { oid, size };
          const href = `${origin}/storage/${oid}`;
          if (partBytes === 0 || size <= partBytes) return { oid, size, actions: { upload: { href } } };
          const urls = Array.from({ length: Math.ceil(size / partBytes) }, (_, i) => [
            String(i + 1).padStart(5, "0"),
            `${href}/${i + 1}`,
          ]);
          const header = { chunk_size: String(partBytes), ...Object.fromEntries(urls) };
          return { oid, size, actions: { upload: { href: `${href}/complete`, header } } };
        }),
      });
    }
    for (const line of (await request.text()).trim().split("\n")) {
      const { key, value } = JSON.parse(line);
      if (key === "header") repository.commits.push(value.summary);
      if (key === "file") {
        repository.files.set(
          value.path,
          Uint8Array.from(atob(value.content), (c) => c.charCodeAt(0)),
        );
      }
      if (key !== "lfsFile") continue;
      const bytes = objects.get(value.oid);
      const isWhole = bytes?.length === value.size &&
        createHash("sha256").update(bytes ?? "").digest("hex") === value.oid;
      if (bytes === undefined || !isWhole) return problem(400, `${value.path} was not uploaded`);
      repository.files.set(value.path, bytes);
    }
    const commitOid = "c".repeat(40);
    return Response.json({ success: true, commitOid, commitUrl: `${origin}/${id}/commit/${commitOid}` });
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    repositories,
    requests,
    close: () => server.shutdown(),
  };
}
