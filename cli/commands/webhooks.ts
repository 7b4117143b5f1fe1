/**
 * `webhooks listen`: receive a project's events on this machine during development. A hosted server cannot reach a laptop,
 * so a temporary endpoint delivers to the server's own /webhook_endpoints/discard, and this command reads the events
 * from the delivery log, signs them again and forwards them.
 */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import process from "node:process";
import { Webhook } from "standardwebhooks";
import { ApiError, type Schemas, unwrap } from "../../client/mod.ts";
import { openSession, type Session, sleep } from "../api/session.ts";
import type { BodyOf } from "../api/types.ts";
import {
  addCommand,
  addExamples,
  addGroup,
  type Command,
  type CommonOptions,
  parseList,
  parsePositive,
} from "../command.ts";
import { CliError, exitCodes, formatError, networkErrorReason } from "../errors.ts";
import { formatClock } from "../terminal/format.ts";
import { print, printJson, printNote, stdoutColors } from "../terminal/output.ts";
import { withAbortOnSigint } from "../terminal/sigint.ts";

type EventType = BodyOf<"createWebhookEndpoint">["event_types"][number];
type Delivery = Schemas["WebhookDelivery"];
interface Options extends CommonOptions {
  forward?: string;
  events?: string[];
  endpoint?: string;
  secret?: string;
  interval: number;
}

const forwardTimeoutMs = 15_000;

export function addWebhooks(program: Command): void {
  const webhooks = addGroup(program, "webhooks", "Receive webhook events during development");
  addExamples(
    addCommand(webhooks, "listen", "Print a project's events as they arrive and forward them to a local URL")
      .option("--forward <url>", "URL to forward events to, such as http://localhost:3000/hooks")
      .option("--events <types>", "comma-separated event types (default: all)", parseList)
      .option("--endpoint <id>", "read an existing endpoint's events instead of a temporary one's")
      .option("--secret <whsec_…>", "secret to sign forwarded events with (default: a new one)")
      .option("--interval <seconds>", "polling interval", parsePositive, 2)
      .action(listen),
    "webhooks listen --forward http://localhost:3000/hooks",
    "webhooks listen --events fine_tuning.job.succeeded,fine_tuning.job.failed",
  );
}

async function listen(options: Options): Promise<void> {
  const secret = options.secret || process.env.TUNEBASE_WEBHOOK_SECRET ||
    `whsec_${randomBytes(32).toString("base64")}`;
  const signer = createSigner(secret);
  if (options.forward !== undefined && !/^https?:\/\//.test(options.forward)) {
    throw new CliError(`--forward ${options.forward} must start with http:// or https://.`, exitCodes.usage);
  }
  const session = await openSession();
  await withAbortOnSigint(async (signal) => {
    const endpoint = options.endpoint ?? await createTemporaryEndpoint(session, options.events);
    try {
      printNote(
        options.forward === undefined
          ? "Listening for events. Press Ctrl-C to stop."
          : `Forwarding events to ${options.forward}. Press Ctrl-C to stop.\nSigning secret: ${secret}`,
      );
      await relayDeliveries(session, endpoint, options, signer, signal);
    } finally {
      if (options.endpoint === undefined) {
        await deleteEndpoint(session, endpoint);
      }
    }
  });
}

function createSigner(secret: string): Webhook {
  try {
    return new Webhook(secret);
  } catch (cause) {
    throw new CliError(
      "The signing secret must be whsec_ followed by a base64 string.",
      exitCodes.usage,
      { cause },
    );
  }
}

/** The endpoint's URL discards every event, because only the delivery log is needed. */
async function createTemporaryEndpoint(session: Session, events?: string[]): Promise<string> {
  const { api } = session;
  await deleteLeftoverEndpoints(session);
  const types = unwrap(await api.GET("/webhook_event_types"))
    .data as EventType[];
  const endpoint = unwrap(
    await api.POST("/webhook_endpoints", {
      body: {
        name: endpointName(process.pid),
        url: `${session.baseUrl}/webhook_endpoints/discard`,
        // The API reports unknown types and lists the valid ones.
        event_types: events === undefined ? types : events as EventType[],
        progress_seconds: 5,
      },
    }),
  );
  return endpoint.id;
}

const endpointName = (pid: number) => `tunebase webhooks listen, ${hostname()}, pid ${pid}`;

/** Deletes the endpoints of earlier calls on this machine that were killed before they could clean up. */
async function deleteLeftoverEndpoints(session: Session): Promise<void> {
  const { data } = unwrap(await session.api.GET("/webhook_endpoints", { params: { query: { limit: 100 } } }));
  for (const { id, name } of data) {
    const pid = Number(/, pid (\d+)$/.exec(name)?.[1]);
    if (name === endpointName(pid) && !isAlive(pid)) {
      await deleteEndpoint(session, id);
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error &&
      error.code === "ESRCH");
  }
}

async function deleteEndpoint({ api }: Session, id: string): Promise<void> {
  try {
    unwrap(await api.DELETE("/webhook_endpoints/{id}", { params: { path: { id } } }));
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return;
    printNote(`Could not delete the temporary endpoint ${id}: ${formatError(error)}`);
  }
}

/** Polls for new deliveries until the signal aborts. */
async function relayDeliveries(
  session: Session,
  endpoint: string,
  options: Options,
  signer: Webhook,
  signal: AbortSignal,
): Promise<void> {
  const seen = new Set<string>();
  // Skip what an existing endpoint received earlier.
  if (options.endpoint !== undefined) {
    for (const { id } of (await listDeliveries(session, endpoint)).data) {
      seen.add(id);
    }
  }
  while (!signal.aborted) {
    for (const delivery of await findNewDeliveries(session, endpoint, seen)) {
      seen.add(delivery.id);
      await handleDelivery(session, delivery, options, signer);
    }
    await sleep(options.interval * 1000, signal);
  }
}

async function listDeliveries({ api }: Session, endpoint: string, after?: string) {
  return unwrap(
    await api.GET("/webhook_deliveries", {
      params: { query: { webhook_endpoint_id: endpoint, limit: 100, ...(after ? { after } : {}) } },
    }),
  );
}

/** The deliveries that were not seen yet, oldest first. The API lists the newest first. */
async function findNewDeliveries(
  session: Session,
  endpoint: string,
  seen: Set<string>,
): Promise<Delivery[]> {
  const found: Delivery[] = [];
  try {
    let page = await listDeliveries(session, endpoint);
    while (true) {
      found.push(...page.data.filter(({ id }) => !seen.has(id)));
      if (
        !page.has_more || page.last_id === null ||
        page.data.some(({ id }) => seen.has(id))
      ) break;
      page = await listDeliveries(session, endpoint, page.last_id);
    }
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    printNote(`${formatError(error)} Retrying …`);
    return [];
  }
  return found.reverse();
}

interface EventBody {
  data?: { id?: string; status?: string; progress?: number };
}

async function handleDelivery(
  session: Session,
  delivery: Delivery,
  options: Options,
  signer: Webhook,
): Promise<void> {
  const { id, event_id, event_type, created_at } = delivery;
  const { body } = unwrap(await session.api.GET("/webhook_deliveries/{id}", { params: { path: { id } } }));
  const event = JSON.parse(body) as EventBody;
  if (options.json) printJson(event, true);
  else {
    const { id: subject = "", status, progress } = event.data ?? {};
    const details = [subject, status, progress === undefined ? null : `${Math.floor(progress)}%`]
      .filter(Boolean);
    print(`${stdoutColors.dim(formatClock(created_at))}  ${event_type}  ${details.join("  ")}`);
  }
  if (options.forward !== undefined) {
    printNote(`          ${await forward(options.forward, event_id, body, signer)}`);
  }
}

/** Sends the event as the server would; returns a description of the result. */
async function forward(url: string, id: string, body: string, signer: Webhook): Promise<string> {
  const now = new Date();
  const startedAt = performance.now();
  try {
    const response = await fetch(url, {
      method: "POST",
      body,
      redirect: "manual",
      headers: {
        "content-type": "application/json",
        "user-agent": "Tunebase-Webhooks/1",
        "webhook-id": id,
        "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
        "webhook-signature": signer.sign(id, now, body),
      },
      signal: AbortSignal.timeout(forwardTimeoutMs),
    });
    await response.body?.cancel();
    const text = `→ ${response.status} in ${Math.round(performance.now() - startedAt)} ms`;
    return response.ok ? text : stdoutColors.red(text);
  } catch (error) {
    return stdoutColors.red(`→ not delivered: ${networkErrorReason(error)}`);
  }
}
