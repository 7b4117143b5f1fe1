/** One stored completion: the question, the answer, and the whole conversation on demand. */
import { unwrap } from "../../../../client/mod.ts";
import { formatCount } from "../../lib/format.ts";
import { useApiMutation, usePermission } from "../../lib/queries.ts";
import { getServices } from "../../lib/services.ts";
import type { StoredCompletion } from "../../lib/types.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { Status, Time } from "../../ui/display.tsx";
import { toMessages } from "../playground/rows.ts";
import { MessageList } from "../playground/turn_view.tsx";

export function CompletionView(
  { completion }: { completion: StoredCompletion },
) {
  const { id, model, created, expires_at, metadata, tools, usage, choices } = completion;
  const canEdit = usePermission("files:write");
  const remove = useApiMutation(
    async () =>
      unwrap(
        await getServices().api.DELETE("/chat/completions/{id}", {
          params: { path: { id } },
        }),
      ),
    [["completions"]],
  );
  const prompt = toMessages(completion.messages);
  const answers = toMessages(choices.map(({ message }) => message));
  const isCutOff = choices.some(({ finish_reason }) => finish_reason === "length");
  return (
    <li class="sheet" aria-label={prompt.at(-1)?.content ?? id}>
      <div class="page-head">
        <span>
          <strong class="model">{model}</strong>
          <span class="quiet small">
            <Time at={created} /> · deleted <Time at={expires_at} />
            {usage &&
              ` · ${formatCount(usage.prompt_tokens)} tokens in, ${formatCount(usage.completion_tokens)} out`}
          </span>
        </span>
        {canEdit && (
          <ActionButton
            mutation={remove}
            label="Delete"
            danger
            confirmation={{
              text: "This permanently deletes the question and the answer.",
              confirm: "Delete completion",
            }}
          />
        )}
      </div>
      <MessageList messages={[...prompt.slice(-1), ...answers]} />
      {isCutOff && (
        <p>
          <Status
            value="warn"
            label="Truncated at the maximum number of tokens; not used in dataset files"
          />
        </p>
      )}
      {Object.keys(metadata).length > 0 && (
        <ul class="tags" aria-label="Metadata">
          {Object.entries(metadata).map(([key, value]) => <li key={key}>{key}={value}</li>)}
        </ul>
      )}
      {(prompt.length > 1 || tools !== null) && (
        <details>
          <summary class="small">Full prompt</summary>
          <MessageList messages={prompt} />
          {tools !== null && <pre class="wrap">{JSON.stringify(tools, null, 2)}</pre>}
        </details>
      )}
    </li>
  );
}
