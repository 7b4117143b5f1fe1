/** Code that sends a request. It runs as pasted, with the key in TUNEBASE_API_KEY. */
import type { ChatRequest } from "../../../../client/chat_stream.ts";

export const languages = ["curl", "Python", "Node"] as const;
export type Language = (typeof languages)[number];

export function snippet(
  language: Language,
  apiUrl: string,
  request: ChatRequest,
): string {
  switch (language) {
    case "curl":
      return curl(apiUrl, request);
    case "Python":
      return python(apiUrl, request);
    case "Node":
      return node(apiUrl, request);
  }
}

/** The JSON is indented, so that none of its lines ends the here-document. */
const curl = (apiUrl: string, request: ChatRequest) =>
  `curl -sN ${apiUrl}/chat/completions \\
  -H "authorization: Bearer $TUNEBASE_API_KEY" \\
  -H "content-type: application/json" \\
  -d @- <<'JSON'
${JSON.stringify({ ...request, stream: true }, null, 2)}
JSON`;

/** Tool calls are not in the answer's text, so snippets with tools print the whole message. */
const python = (apiUrl: string, request: ChatRequest) =>
  `# pip install openai
import os
from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(apiUrl)}, api_key=os.environ["TUNEBASE_API_KEY"])
${
    request.tools === undefined
      ? `stream = client.chat.completions.create(
${keywords(request)}
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()`
      : `completion = client.chat.completions.create(
${keywords(request)}
)
print(completion.choices[0].message)`
  }`;

const keywords = (request: ChatRequest) =>
  Object.entries(request).map(([name, value]) => `    ${name}=${pythonLiteral(value, 1)},`).join("\n");

/** JSON strings and numbers are valid Python; true, false and null are not. */
export function pythonLiteral(value: unknown, depth: number): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const items = Array.isArray(value)
    ? value.map((item: unknown) => pythonLiteral(item, depth + 1))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${pythonLiteral(item, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  if (items.length === 0) return `${open}${close}`;
  const indent = "    ".repeat(depth);
  return `${open}\n${items.map((item) => `${indent}    ${item},`).join("\n")}\n${indent}${close}`;
}

const node = (apiUrl: string, request: ChatRequest) =>
  `// npm install openai; save as chat.mjs; node chat.mjs
import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${JSON.stringify(apiUrl)}, apiKey: process.env.TUNEBASE_API_KEY });
${
    request.tools === undefined
      ? `const stream = await client.chat.completions.create(${
        JSON.stringify({ ...request, stream: true }, null, 2)
      });
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
console.log();`
      : `const completion = await client.chat.completions.create(${JSON.stringify(request, null, 2)});
console.log(completion.choices[0].message);`
  }`;
