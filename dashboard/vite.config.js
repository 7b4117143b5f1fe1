/** Builds the dashboard to `dist/`: files that work at any address, under any path. */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/** Where `npm run dev` finds the API: a stack of `task dev`. */
const stack = process.env.TUNEBASE_URL ?? "http://127.0.0.1:54321";

export default defineConfig({
  base: "./",
  // client/mod.ts lies outside of this folder, and so outside of its node_modules.
  resolve: { alias: { "openapi-fetch": fileURLToPath(import.meta.resolve("openapi-fetch")) } },
  build: { target: "es2022", modulePreload: { polyfill: false }, assetsInlineLimit: 0, manifest: true },
  server: {
    proxy: Object.fromEntries(
      ["/functions", "/auth", "/storage", "/config.json"].map((path) => [path, {
        target: stack,
        rewrite: (url) => url === "/config.json" ? "/dashboard/config.json" : url,
      }]),
    ),
  },
});
