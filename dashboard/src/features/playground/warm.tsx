/** Loads the chosen models before the first message. */
import { formatClock } from "../../lib/format.ts";
import { ErrorMessage } from "../../ui/feedback.tsx";
import type { PlaygroundModel } from "./models.ts";
import { useWarm } from "./use_warm.ts";

export function Warm({ models }: { models: PlaygroundModel[] }) {
  const { isLoading, loadedAt, error, load } = useWarm(
    models.map(({ id }) => id),
  );
  return (
    <div class="actions warm">
      <button type="button" class="small" disabled={isLoading} onClick={load}>
        {models.length > 1 ? "Load the models" : "Load the model"}
      </button>
      <span class="quiet small" role="status">
        {isLoading
          ? "Loading on the GPU. This can take minutes …"
          : loadedAt !== null
          ? `Loaded at ${formatClock(loadedAt / 1000)}`
          : "Idle GPUs shut down. The next message starts the GPU again, which can take minutes."}
      </span>
      {error !== null && <ErrorMessage error={error} />}
    </div>
  );
}
