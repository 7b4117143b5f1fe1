/** Builds the dashboard to `dist/`: static files that work on any host, under any path. */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/** The API for `npm run dev`: a stack of `task dev`. */
const stack = process.env.TUNEBASE_URL ?? "http://127.0.0.1:54321";

/** Redoc shows a logo from its CDN; an empty image keeps the page free of requests to other origins. */
const removeRemoteLogo = {
  name: "remove-remote-logo",
  generateBundle(_options, bundle) {
    for (const file of Object.values(bundle)) {
      if (file.type !== "asset" || !file.fileName.includes("redoc")) continue;
      const code = typeof file.source === "string" ? file.source : new TextDecoder().decode(file.source);
      file.source = code.replaceAll(
        "https://cdn.redoc.ly/redoc/logo-mini.svg",
        "data:image/gif;base64,R0lGODlhAQABAAAAACw=",
      );
    }
  },
};

export default defineConfig({
  base: "./",
  plugins: [removeRemoteLogo],
  // client/ is outside this folder, so it does not find the packages in node_modules.
  resolve: {
    alias: ["openapi-fetch", "eventsource-parser"].map((name) => ({
      find: new RegExp(`^${name}$`),
      replacement: fileURLToPath(import.meta.resolve(name)),
    })),
  },
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    manifest: true,
    rolldownOptions: { input: ["index.html", "docs/index.html"] },
  },
  server: {
    proxy: Object.fromEntries(
      ["/functions", "/auth", "/storage", "/config.json"].map((path) => [path, {
        target: stack,
        rewrite: (url) => url === "/config.json" ? "/dashboard/config.json" : url,
      }]),
    ),
  },
});
