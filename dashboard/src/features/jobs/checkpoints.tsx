/** The latest checkpoints, each downloadable as an adapter. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { formatCount, formatNumber } from "../../lib/format.ts";
import { getServices } from "../../lib/services.ts";
import { Time } from "../../ui/display.tsx";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { Table } from "../../ui/table.tsx";
import { TryIt } from "../playground/try_it.tsx";
import { DownloadList } from "./download_list.tsx";

const pollIntervalMs = 15_000;
/** Signed URLs expire after 15 minutes. */
const renewUrlsMs = 600_000;

export function Checkpoints(
  { jobId, isFinal }: { jobId: string; isFinal: boolean },
) {
  const [expanded, setExpanded] = useState<string | null>(null);
  const checkpoints = useQuery({
    queryKey: ["checkpoints", jobId],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/fine_tuning/jobs/{id}/checkpoints", {
          params: { path: { id: jobId } },
        }),
      ).data,
    refetchInterval: isFinal ? false : pollIntervalMs,
  });
  if (checkpoints.data?.length === 0) return null;
  return (
    <section aria-labelledby="checkpoints">
      <h2 id="checkpoints">Checkpoints</h2>
      <QueryBoundary query={checkpoints} what="checkpoints">
        {(list) => (
          <Table
            label="Checkpoints"
            columns={[
              "Step",
              "Training loss",
              "Validation loss",
              "Saved",
              "Files",
              "",
            ]}
          >
            {list.map((
              {
                id,
                fine_tuned_model_checkpoint,
                step_number,
                metrics,
                created_at,
              },
            ) => (
              <tr key={id}>
                <th scope="row">{formatCount(step_number)}</th>
                <td>
                  {metrics.train_loss === undefined ? "–" : formatNumber(metrics.train_loss)}
                </td>
                <td>
                  {metrics.valid_loss === undefined ? "–" : formatNumber(metrics.valid_loss)}
                </td>
                <td>
                  <Time at={created_at} />
                </td>
                <td>
                  {expanded === id ? <CheckpointFiles jobId={jobId} id={id} /> : (
                    <button
                      type="button"
                      class="small"
                      onClick={() => setExpanded(id)}
                    >
                      Show files <span class="unseen">of step {step_number}</span>
                    </button>
                  )}
                </td>
                <td>
                  <TryIt
                    model={fine_tuned_model_checkpoint}
                    what={`checkpoint of step ${step_number}`}
                  />
                </td>
              </tr>
            ))}
          </Table>
        )}
      </QueryBoundary>
    </section>
  );
}

function CheckpointFiles({ jobId, id }: { jobId: string; id: string }) {
  const files = useQuery({
    queryKey: ["checkpoint", jobId, id],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET(
          "/fine_tuning/jobs/{id}/checkpoints/{checkpoint}/adapter",
          {
            params: { path: { id: jobId, checkpoint: id } },
          },
        ),
      ).files,
    refetchInterval: renewUrlsMs,
  });
  return (
    <QueryBoundary query={files} what="files">
      {(list) => <DownloadList files={list} />}
    </QueryBoundary>
  );
}
