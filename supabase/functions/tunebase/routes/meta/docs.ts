/** GET /docs: the API reference as one HTML page without scripts. On *.supabase.co, which blocks HTML, as plain text. */
import * as z from "zod";
import type { ApiContext } from "../../context.ts";
import { loadDocument } from "./openapi.ts";
import { defineRoute } from "../define.ts";

type Document = Awaited<ReturnType<typeof loadDocument>>;

interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  format?: string;
  description?: string;
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
}
interface Parameter {
  $ref?: string;
  name: string;
  in: string;
  description?: string;
  schema: Schema;
}
interface Body {
  content?: Record<string, { schema: Schema; example?: unknown }>;
}
interface Operation {
  tags: string[];
  summary: string;
  description: string;
  parameters?: Parameter[];
  requestBody?: Body;
  responses: Record<string, Body & { $ref?: string; description?: string }>;
  security?: unknown[];
}

/** A block of the page, rendered as HTML or plain text. */
type Block = { as: "h1" | "h2" | "h3" | "p" | "code"; text: string } | { as: "list"; items: string[] };

async function getDocs(c: ApiContext): Promise<Response> {
  const base = `${c.get("platform").settings.supabaseUrl}/functions/v1/tunebase`;
  const blocks = page(await loadDocument(), base);
  c.header("cache-control", "public, max-age=300");
  if (new URL(base).hostname.endsWith(".supabase.co")) return c.text(blocks.map(asText).join("\n\n") + "\n");
  c.header("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'");
  return c.html(
    `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
      `<title>Tunebase API</title><style>${style}</style><main>${
        blocks.map(asHtml).join("\n")
      }</main></html>`,
  );
}

function page(document: Document, base: string): Block[] {
  const { info, tags } = document;
  const paths = document.paths as unknown as Record<string, Record<string, Operation>>;
  const all = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation }))
  );
  return [
    { as: "h1", text: `${info.title} API` },
    { as: "p", text: info.description },
    { as: "p", text: `Base URL: ${base} · OpenAPI document: ${base}/openapi.json` },
    ...tags.flatMap(({ name }): Block[] => [
      { as: "h2", text: name },
      ...all.filter(({ operation }) => operation.tags.includes(name)).flatMap((one) =>
        describe(document, one, base)
      ),
    ]),
  ];
}

function describe(
  document: Document,
  { path, method, operation }: { path: string; method: string; operation: Operation },
  base: string,
): Block[] {
  const [type, body] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  const parameters = (operation.parameters ?? []).filter(({ $ref }) => $ref === undefined);
  const answer = Object.values(operation.responses)[0];
  const [, shown] = Object.entries(answer?.content ?? {})[0] ?? [];
  const codes = Object.values(operation.responses).flatMap(({ $ref }) =>
    $ref?.split("/").at(-1)?.split(".") ?? []
  );
  const list = (title: string, items: string[]): Block[] =>
    items.length === 0 ? [] : [{ as: "p", text: title }, { as: "list", items }];
  return [
    { as: "h3", text: `${method} ${path}` },
    { as: "p", text: `${operation.summary}. ${operation.description}` },
    {
      as: "code",
      text: [
        `curl ${base}${path}${method === "GET" ? "" : ` -X ${method}`}`,
        ...(operation.security?.length === 0 ? [] : [`-H "Authorization: Bearer $TUNEBASE_API_KEY"`]),
        ...(type === "multipart/form-data"
          ? Object.entries(body?.schema.properties ?? {})
            .filter(([name]) => body?.schema.required?.includes(name))
            .map(([name, { format, const: only }]) =>
              `-F ${name}=${format === "binary" ? "@rows.jsonl" : only ?? "…"}`
            )
          : body?.example === undefined
          ? []
          : ["-H 'content-type: application/json'", `-d '${JSON.stringify(body.example)}'`]),
      ].join(" \\\n  "),
    },
    ...list("Parameters", parameters.map((one) => line(one.name, one.schema, one.in === "path"))),
    ...list("Body", fields(document, body?.schema)),
    ...list("Response", shown === undefined ? [answer?.description ?? ""] : fields(document, shown.schema)),
    ...(codes.length === 0 ? [] : [{ as: "p" as const, text: `Errors: ${codes.join(", ")}` }]),
  ];
}

function fields(document: Document, schema: Schema | undefined): string[] {
  if (schema === undefined) return [];
  const { properties, required = [] } = resolve(document, schema);
  if (properties === undefined) return [typeOf(schema)];
  return Object.entries(properties).map(([name, one]) => line(name, one, required.includes(name)));
}

function line(name: string, schema: Schema, required: boolean): string {
  const { default: fallback, description } = schema;
  return [
    `${name}: ${typeOf(schema)}`,
    ...(required ? [] : [fallback === undefined ? "optional" : `default: ${JSON.stringify(fallback)}`]),
    ...(description === undefined ? [] : [description]),
  ].join(" · ");
}

function typeOf(schema: Schema): string {
  if (schema.$ref !== undefined) return schema.$ref.split("/").at(-1) ?? "";
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.items !== undefined) return `array of ${typeOf(schema.items)}`;
  const type = Array.isArray(schema.type) ? schema.type.join(" | ") : schema.type ?? "any";
  const { minimum, maximum } = schema;
  if (minimum !== undefined && maximum !== undefined) return `${type} ${minimum}…${maximum}`;
  return type;
}

function resolve(document: Document, schema: Schema): Schema {
  const name = schema.$ref?.split("/").at(-1);
  const schemas = document.components.schemas as unknown as Record<string, Schema>;
  return name === undefined ? schema : schemas[name] ?? {};
}

function asText(block: Block): string {
  switch (block.as) {
    case "list":
      return block.items.map((item) => `- ${item}`).join("\n");
    case "code":
      return block.text.replace(/^/gm, "    ");
    case "p":
      return block.text;
    default:
      return `${"#".repeat(Number(block.as[1]))} ${block.text}`;
  }
}

function asHtml(block: Block): string {
  if (block.as === "list") {
    return `<ul>${block.items.map((item) => `<li>${escaped(item)}</li>`).join("")}</ul>`;
  }
  if (block.as === "code") return `<pre><code>${escaped(block.text)}</code></pre>`;
  return `<${block.as}>${escaped(block.text)}</${block.as}>`;
}

const escaped = (text: string) =>
  text.replace(/[&<>]/g, (char) => char === "&" ? "&amp;" : char === "<" ? "&lt;" : "&gt;")
    .replace(/`([^`]+)`/g, "<code>$1</code>");

const style = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:0}
main{max-width:52rem;margin:0 auto;padding:1rem}h2{margin-top:3rem;border-bottom:1px solid #8886}
h3{margin-top:2rem;font-family:ui-monospace,monospace}pre{overflow-x:auto;padding:.75rem;background:#8882;border-radius:6px}
code{font-family:ui-monospace,monospace;font-size:.9em}ul{padding-left:1.25rem}li{overflow-wrap:anywhere}`;

export const routes = [
  defineRoute({
    method: "GET",
    path: "/docs",
    id: "getDocs",
    summary: "Read this document as a web page",
    scope: "none",
    response: { 200: { description: "An HTML page", content: { "text/html": () => z.string() } } },
    handler: getDocs,
  }),
];
