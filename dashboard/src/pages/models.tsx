/** The base models on offer, and the project's own fine-tunes. */
import { unwrap } from "../../../client/mod.ts";
import { type FineTunedModel, useChange, useMay, useModels } from "../data.ts";
import { bytes, short, usd } from "../format.ts";
import { href } from "../router.ts";
import { use } from "../services.ts";
import { Action } from "../ui/actions.tsx";
import { Empty, Loaded, Page, Table, Time } from "../ui/basics.tsx";

export function ModelsPage() {
  const models = useModels();
  const may = useMay("jobs:write");
  return (
    <Page title="Models">
      <Loaded of={models}>
        {({ base, own }) => (
          <>
            <h2>Base models</h2>
            <Table label="Base models" head={["Model", "Parameters", "Longest row", "GPU", "Price", ""]}>
              {base.map(({ id, owned_by, parameters, max_length, gpu }) => (
                <tr key={id}>
                  <th scope="row">
                    {id}
                    <div class="quiet small">{owned_by}</div>
                  </th>
                  <td class="number">{parameters === null ? "–" : short(parameters)}</td>
                  <td class="number">{short(max_length)} tokens</td>
                  <td>
                    {gpu.num_gpus} × {gpu.gpu_type}
                    {gpu.gpu_memory_gb > 0 && <div class="quiet small">{gpu.gpu_memory_gb} GB each</div>}
                  </td>
                  <td class="number">{usd(gpu.cost_per_gpu_hour * gpu.num_gpus)} an hour</td>
                  <td>
                    {may && (
                      <a href={href(["new"], { model: id })} aria-label={`Fine-tune ${id}`}>Fine-tune</a>
                    )}
                  </td>
                </tr>
              ))}
            </Table>
            <h2>Your fine-tunes</h2>
            {own.length === 0
              ? (
                <Empty>
                  <p>A job that succeeds puts its model here.</p>
                </Empty>
              )
              : (
                <Table label="Your fine-tunes" head={["Model", "Base", "Size", "Made", ""]}>
                  {own.map((model) => <Own key={model.id} model={model} may={may} />)}
                </Table>
              )}
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Own({ model, may }: { model: FineTunedModel; may: boolean }) {
  const remove = useChange(
    async () => unwrap(await use().api.DELETE("/models/{id}", { params: { path: { id: model.id } } })),
    [["models"]],
  );
  return (
    <tr>
      <th scope="row">
        <a href={href(["jobs", model.job_id])}>{model.id}</a>
      </th>
      <td>{model.base_model}</td>
      <td class="number">{bytes(model.bytes)}</td>
      <td>
        <Time at={model.created} />
      </td>
      <td>
        {may && (
          <div class="actions">
            <a href={href(["new"], { model: model.id })} aria-label={`Train on from ${model.id}`}>Train on</a>
            <Action
              of={remove}
              label="Delete"
              danger
              ask={`Delete ${model.id}, its files and its checkpoints? They cannot be brought back.`}
            />
          </div>
        )}
      </td>
    </tr>
  );
}
