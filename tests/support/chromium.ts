/**
 * A real Chromium for the dashboard tests: CHROMIUM_PATH or one on the PATH; otherwise installs Debian's, as root.
 */
import { type Browser, chromium } from "playwright-core";
import { exists, join } from "../../local/paths.ts";

/** The headless shell draws no window: the tests take less than half the CPU time with it. */
const packages = ["chromium-headless-shell", "chromium"];
const names = [...packages, "chromium-browser", "google-chrome", "google-chrome-stable"];

/** Starts it; throws an Error that says how to install it if it cannot. */
export async function startChromium(): Promise<Browser> {
  const executablePath = await find() ?? await install();
  return await chromium.launch({
    executablePath,
    // The sandbox needs user namespaces, which root and containers often lack; it only opens our own pages.
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--font-render-hinting=none"],
  });
}

async function find(): Promise<string | null> {
  const named = Deno.env.get("CHROMIUM_PATH");
  if (named) return named;
  for (const directory of (Deno.env.get("PATH") ?? "").split(":").filter(Boolean)) {
    for (const name of names) if (await exists(join(directory, name))) return join(directory, name);
  }
  return null;
}

async function install(): Promise<string> {
  const want =
    "The dashboard's tests need Chromium. On Debian: apt-get install chromium-headless-shell; elsewhere set CHROMIUM_PATH.";
  if (Deno.uid() !== 0) throw new Error(want);
  console.log("installing Debian's chromium-headless-shell …");
  let output = await aptGet("update");
  for (const name of packages) {
    output = await aptGet("install", "-y", "--no-install-recommends", name);
    if (output.success) break; // older releases have no headless shell
  }
  if (!output.success) throw new Error(`${want}\napt-get printed: ${output.stderr.slice(-2000)}`);
  const found = await find();
  if (found === null) throw new Error(want);
  return found;
}

/** Throws only if there is no apt-get. */
async function aptGet(...args: string[]): Promise<{ success: boolean; stderr: string }> {
  try {
    const { success, stderr } = await new Deno.Command("apt-get", {
      args: ["-qq", ...args],
      env: { DEBIAN_FRONTEND: "noninteractive" },
      stdout: "null",
    }).output();
    return { success, stderr: new TextDecoder().decode(stderr) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { success: false, stderr: "there is no apt-get" };
    throw error;
  }
}
