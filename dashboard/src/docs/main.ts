/**
 * The API reference: Redoc over the API's own OpenAPI document. A page of its own, because Redoc is larger than the whole
 * dashboard and needs a looser content security policy for styles.
 */
import redocUrl from "redoc/bundles/redoc.standalone.js?url";
import { loadConfig } from "../lib/config.ts";
import "./docs.css";

interface Redoc {
  init(
    spec: unknown,
    options: Record<string, unknown>,
    container: HTMLElement,
  ): Promise<void>;
}
declare global {
  var Redoc: Redoc | undefined;
}

/** As in docs.css. */
const headerHeight = 40;
const font = 'system-ui, -apple-system, "Segoe UI", sans-serif';
const options = {
  hideDownloadButtons: true,
  nativeScrollbars: true,
  sanitize: true,
  scrollYOffset: headerHeight,
  sortRequiredPropsFirst: true,
  theme: {
    colors: { primary: { main: "#2563c9" } },
    typography: {
      fontFamily: font,
      headings: { fontFamily: font },
      code: { fontFamily: "monospace" },
    },
    sidebar: { width: "270px" },
  },
};

const container = document.getElementById("docs");
if (container === null) throw new Error("docs/index.html has no #docs");

try {
  const { apiUrl } = await loadConfig(new URL("../", document.baseURI));
  const [spec] = await Promise.all([
    fetchSpec(`${apiUrl}/openapi.json`),
    loadScript(redocUrl),
  ]);
  if (globalThis.Redoc === undefined) throw new Error("Redoc did not load.");
  await globalThis.Redoc.init(spec, options, container);
} catch (error) {
  container.textContent = `Could not load the API reference: ${
    error instanceof Error ? error.message : String(error)
  }`;
}

async function fetchSpec(url: string): Promise<unknown> {
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`${url} responded with ${response.status}.`);
  }
  return await response.json();
}

/** Redoc's bundle is a classic script that defines a global. */
function loadScript(url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve();
    script.onerror = () => reject(new Error(`${url} did not load.`));
    document.head.append(script);
  });
}
