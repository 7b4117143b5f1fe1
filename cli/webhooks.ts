/**
 * `webhooks listen`: a project's events on this machine, for development. The server of a hosted project cannot reach a
 * laptop; so a temporary endpoint sends to the server's own /webhook_endpoints/discard, and the events are read from the log of deliveries,
 * signed anew, and forwarded.
 */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import process from "node:process";
import { Webhook } from "standardwebhooks";
import { RefusedError, type Schemas, unwrap } from "../client/mod.ts";
import { addCommand, addGroup, type Command, type Common, examples, positive } from "./command.ts";
import { CliError, exits, explain, networkReason } from "./errors.ts";
import { interruptible } from "./interrupt.ts";
import { clock, note, paint, print, printJson } from "./output.ts";
import { openSession, pause, type Session } from "./session.ts";
import type { BodyOf } from "./types.ts";

type EventType = BodyOf<"createWebhookEndpoint">["event_types"][number];
type Delivery = Schemas["WebhookDelivery"];
interface Options extends Common {
  forward?: string;
  events?: string;
  endpoint?: string;
  secret?: string;
  interval: number;
}

export function addWebhooks(program: Command): void {
  const webhooks = addGroup(program, "webhooks", "Events, for development");
  examples(
    addCommand(webhooks, "listen", "Print a project's events as they come, and forward them to a local URL")
      .option("--forward <url>", "such as http://localhost:3000/hooks")
      .option("--events <types>", "with commas between; all unless said")
      .option("--endpoint <id>", "the events of this endpoint, instead of a temporary one")
      .option("--secret <whsec_…>", "what forwarded events are signed with; a new one unless said")
      .option("--interval <seconds>", "how often to look", positive, 2)
      .action(listen),
    "webhooks listen --forward http://localhost:3000/hooks",
    "webhooks listen --events fine_tuning.job.succeeded,fine_tuning.job.failed",
  );
}

async function listen(options: Options): Promise<void> {
  const secret = options.secret || process.env.TUNEBASE_WEBHOOK_SECRET ||
    `whsec_${randomBytes(32).toString("base64")}`;
  const signer = webhook(secret);
  if (options.forward !== undefined && !/^https?:\/\//.test(options.forward)) {
    throw new CliError(`--forward ${options.forward} must begin with http:// or https://.`, exits.usage);
  }
  const session = await openSession();
  await interruptible(async (signal) => {
    const endpoint = options.endpoint ??
      await makeEndpoint(session, options.events);
    try {
      note(
        options.forward === undefined
          ? "Listening. Ctrl-C ends it."
          : `Forwarding to ${options.forward}. Ctrl-C ends it.\nSigning secret: ${secret}`,
      );
      await relay(session, endpoint, options, signer, signal);
    } finally {
      if (options.endpoint === undefined) {
        await removeEndpoint(session, endpoint);
      }
    }
  });
}

function webhook(secret: string): Webhook {
  try {
    return new Webhook(secret);
  } catch (cause) {
    throw new CliError("The signing secret must be whsec_ and base64.", exits.usage, { cause });
  }
}

/** /webhook_endpoints/discard answers 204 and keeps nothing: the log of deliveries is what is read. */
async function makeEndpoint(session: Session, events?: string): Promise<string> {
  const { api } = session;
  await removeLeftBehind(session);
  const types = unwrap(await api.GET("/webhook_event_types"))
    .data as EventType[];
  const made = unwrap(
    await api.POST("/webhook_endpoints", {
      body: {
        name: nameOf(process.pid),
        url: `${session.baseUrl}/webhook_endpoints/discard`,
        // A type that does not exist is told by the API, with those that do.
        event_types: events === undefined ? types : events.split(",").map((one) => one.trim()) as EventType[],
        progress_seconds: 5,
      },
    }),
  );
  return made.id;
}

const nameOf = (pid: number) => `tunebase webhooks listen, ${hostname()}, pid ${pid}`;

/** Endpoints of earlier calls on this machine that were killed before they could remove them. */
async function removeLeftBehind(session: Session): Promise<void> {
  const { data } = unwrap(await session.api.GET("/webhook_endpoints", { params: { query: { limit: 100 } } }));
  for (const { id, name } of data) {
    const pid = Number(/, pid (\d+)$/.exec(name)?.[1]);
    if (name === nameOf(pid) && !isAlive(pid)) {
      await removeEndpoint(session, id);
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

async function removeEndpoint({ api }: Session, id: string): Promise<void> {
  try {
    unwrap(await api.DELETE("/webhook_endpoints/{id}", { params: { path: { id } } }));
  } catch (error) {
    if (error instanceof RefusedError && error.status === 404) return;
    note(`The temporary endpoint ${id} could not be removed: ${explain(error)}`);
  }
}

/** Looks for new deliveries until the signal comes. */
async function relay(
  session: Session,
  endpoint: string,
  options: Options,
  signer: Webhook,
  signal: AbortSignal,
): Promise<void> {
  const seen = new Set<string>();
  // What an endpoint of one's own has had before is not news.
  if (options.endpoint !== undefined) {
    for (const { id } of (await look(session, endpoint)).data) {
      seen.add(id);
    }
  }
  while (!signal.aborted) {
    for (const delivery of await news(session, endpoint, seen)) {
      seen.add(delivery.id);
      await show(session, delivery, options, signer);
    }
    await pause(options.interval * 1000, signal);
  }
}

async function look({ api }: Session, endpoint: string, after?: string) {
  return unwrap(
    await api.GET("/webhook_deliveries", {
      params: { query: { webhook_endpoint_id: endpoint, limit: 100, ...(after ? { after } : {}) } },
    }),
  );
}

/** Those that were not seen, the oldest first. The list has the newest first. */
async function news(session: Session, endpoint: string, seen: Set<string>): Promise<Delivery[]> {
  const found: Delivery[] = [];
  try {
    let page = await look(session, endpoint);
    while (true) {
      found.push(...page.data.filter(({ id }) => !seen.has(id)));
      if (
        !page.has_more || page.last_id === null ||
        page.data.some(({ id }) => seen.has(id))
      ) break;
      page = await look(session, endpoint, page.last_id);
    }
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    note(`${explain(error)} Trying again.`);
    return [];
  }
  return found.reverse();
}

interface EventBody {
  data?: { id?: string; status?: string; progress?: number };
}

async function show(session: Session, delivery: Delivery, options: Options, signer: Webhook): Promise<void> {
  const { id, event_id, event_type, created_at } = delivery;
  const { body } = unwrap(await session.api.GET("/webhook_deliveries/{id}", { params: { path: { id } } }));
  const event = JSON.parse(body) as EventBody;
  if (options.json) printJson(event, true);
  else {
    const { id: about = "", status, progress } = event.data ?? {};
    const more = [about, status, progress === undefined ? null : `${Math.floor(progress)} %`].filter(Boolean);
    print(`${paint.dim(clock(created_at))}  ${event_type}  ${more.join("  ")}`);
  }
  if (options.forward !== undefined) {
    note(`          ${await forward(options.forward, event_id, body, signer)}`);
  }
}

/** Sends it as the server would; returns what came back, in words. */
async function forward(url: string, id: string, body: string, signer: Webhook): Promise<string> {
  const now = new Date();
  const begin = performance.now();
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
      signal: AbortSignal.timeout(15_000),
    });
    await response.body?.cancel();
    const text = `→ ${response.status} in ${Math.round(performance.now() - begin)} ms`;
    return response.ok ? text : paint.red(text);
  } catch (error) {
    return paint.red(`→ not delivered: ${networkReason(error)}`);
  }
}
