/** `open`: shows a job in the dashboard. */
import { spawn } from "node:child_process";
import process from "node:process";
import { unwrap } from "../../client/mod.ts";
import { resolveJob } from "../api/job_reference.ts";
import { openSession } from "../api/session.ts";
import { addCommand, addExamples, type Command, type CommonOptions, explainJobArgument } from "../command.ts";
import { CliError } from "../errors.ts";
import { print, printJson, printNote } from "../terminal/output.ts";

export function addOpen(program: Command): void {
  addExamples(
    explainJobArgument(
      addCommand(program, "open [job]", "Open a job, or the dashboard, in your browser")
        .option("--no-browser", "only print the address")
        .action(open),
    ),
    "open latest",
    "open --no-browser",
  );
}

async function open(
  reference: string | undefined,
  options: CommonOptions & { browser: boolean },
): Promise<void> {
  const session = await openSession();
  const job = reference === undefined ? null : await resolveJob(session, reference);
  const configured = process.env.TUNEBASE_DASHBOARD_URL ||
    unwrap(await session.api.GET("/me")).dashboard_url;
  if (!configured) {
    throw new CliError(
      "The server has no dashboard URL configured. Set TUNEBASE_DASHBOARD_URL to the dashboard's address, such as " +
        "https://tunebase.example.com/#, or ask the server's operator to set it.",
    );
  }
  // Only web addresses: the system would also open files and start programs, and the address can come from the server.
  if (!URL.canParse(configured) || !/^https?:/i.test(configured)) {
    throw new CliError(
      `The dashboard's address is not a web address: ${configured}. Correct TUNEBASE_DASHBOARD_URL.`,
    );
  }
  const dashboard = configured.replace(/\/+$/, "");
  const url = job === null ? `${dashboard}/` : `${dashboard}/jobs/${job}`;
  if (options.json) return printJson({ url });
  print(url);
  if (options.browser && !await launchBrowser(url)) {
    printNote("Could not start a browser. Open the address manually.");
  }
}

/** Starts $BROWSER or the system's program to open the address. Returns whether that worked. */
function launchBrowser(url: string): Promise<boolean> {
  const [command, ...args] = process.env.BROWSER
    ? [process.env.BROWSER]
    : process.platform === "darwin"
    ? ["open"]
    : process.platform === "win32"
    ? ["rundll32", "url.dll,FileProtocolHandler"]
    : ["xdg-open"];
  return new Promise((resolve) => {
    const child = spawn(command ?? "", [...args, url], { stdio: "ignore", detached: true });
    child.on("error", () => resolve(false));
    child.on("spawn", () => {
      child.unref();
      resolve(true);
    });
  });
}
