/** GET /metrics: the whole installation in the Prometheus text format. docs/monitoring.md describes the metrics. */
import * as z from "zod";
import { installationMetricNames } from "../../../_shared/contracts/installation_metrics.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { version } from "../../../_shared/version.ts";
import type { ApiContext } from "../../context.ts";
import { contentType, renderMetrics } from "../../metrics/render.ts";
import { defineRoute } from "../define.ts";

const Samples = z.partialRecord(
  z.enum(installationMetricNames),
  z.array(z.object({ value: z.number() }).catchall(z.union([z.string(), z.number()]))),
);

async function getMetrics(c: ApiContext): Promise<Response> {
  const samples = await rpc(c.get("platform").db, "get_installation_metrics", {}, Samples);
  const text = renderMetrics({ ...samples, tunebase_build_info: [{ version, value: 1 }] });
  return c.body(text, 200, { "content-type": contentType, "cache-control": "no-store" });
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/metrics",
    id: "getMetrics",
    summary: "Get metrics of the installation in the Prometheus text format",
    scope: "operator",
    response: { 200: { description: "Metrics", content: { "text/plain": () => z.string() } } },
    handler: getMetrics,
  }),
];
