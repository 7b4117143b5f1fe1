/** Whether a model can be called, why not, and a button that loads it. */
import { formatClock } from "../../lib/format.ts";
import { usePermission } from "../../lib/queries.ts";
import type { BaseModel, FineTunedModel } from "../../lib/types.ts";
import { Status } from "../../ui/display.tsx";
import { ErrorMessage } from "../../ui/feedback.tsx";
import { useWarm } from "../playground/use_warm.ts";

export function Serving({ model }: { model: BaseModel | FineTunedModel }) {
  const canAsk = usePermission("inference");
  if (!model.servable) {
    return (
      <>
        <Status value="plain" label="Not callable" />
        <div class="quiet small">
          {model.servable_reason ?? "This installation does not serve it."}
        </div>
      </>
    );
  }
  return canAsk ? <Loader id={model.id} /> : <Status value="enabled" label="Callable" />;
}

function Loader({ id }: { id: string }) {
  const { isLoading, loadedAt, error, load } = useWarm([id]);
  return (
    <>
      <span role="status">
        {isLoading ? <Status value="running" label="Loading …" /> : loadedAt !== null
          ? (
            <Status
              value="enabled"
              label={`Loaded at ${formatClock(loadedAt / 1000)}`}
            />
          )
          : <Status value="enabled" label="Callable" />}
      </span>{" "}
      <button
        type="button"
        class="small"
        disabled={isLoading}
        title="Idle GPUs shut down. Load the model now so that the first request does not have to wait."
        onClick={load}
      >
        Load <span class="unseen">{id}</span>
      </button>
      {error !== null && <ErrorMessage error={error} />}
    </>
  );
}
