/** The newest checkpoints; each can be taken home as an adapter. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { figure } from "../../format.ts";
import { use } from "../../services.ts";
import { Loaded, Table, Time } from "../../ui/basics.tsx";
import { Files } from "./files.tsx";

export function Checkpoints({ jobId, final }: { jobId: string; final: boolean }) {
  const [open, setOpen] = useState<string | null>(null);
  const list = useQuery({
    queryKey: ["checkpoints", jobId],
    queryFn: async () =>
      unwrap(await use().api.GET("/fine_tuning/jobs/{id}/checkpoints", { params: { path: { id: jobId } } }))
        .data,
    refetchInterval: final ? false : 15_000,
  });
  if (list.data?.length === 0) return null;
  return (
    <section aria-labelledby="checkpoints">
      <h2 id="checkpoints">Checkpoints</h2>
      <Loaded of={list}>
        {(found) => (
          <Table label="Checkpoints" head={["Step", "Training loss", "Validation loss", "Saved", "Files"]}>
            {found.map(({ id, step_number, metrics, created_at }) => (
              <tr key={id}>
                <th scope="row">{step_number.toLocaleString()}</th>
                <td>{metrics.train_loss === undefined ? "–" : figure(metrics.train_loss)}</td>
                <td>{metrics.valid_loss === undefined ? "–" : figure(metrics.valid_loss)}</td>
                <td>
                  <Time at={created_at} />
                </td>
                <td>
                  {open === id ? <CheckpointFiles jobId={jobId} id={id} /> : (
                    <button
                      type="button"
                      class="small"
                      onClick={() => setOpen(id)}
                    >
                      Show<span class="unseen">files of step {step_number}</span>
                    </button>
                  )}
                </td>
              </tr>
            ))}
          </Table>
        )}
      </Loaded>
    </section>
  );
}

function CheckpointFiles({ jobId, id }: { jobId: string; id: string }) {
  const files = useQuery({
    queryKey: ["checkpoint", jobId, id],
    queryFn: async () =>
      unwrap(
        await use().api.GET("/fine_tuning/jobs/{id}/checkpoints/{checkpoint}/adapter", {
          params: { path: { id: jobId, checkpoint: id } },
        }),
      ).files,
    refetchInterval: 600_000,
  });
  return <Loaded of={files}>{(list) => <Files files={list} />}</Loaded>;
}
