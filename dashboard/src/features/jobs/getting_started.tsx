/** The jobs page of a new project: the steps from data to calling a model, with completed ones checked off. */
import { useQuery } from "@tanstack/preact-query";
import type { ComponentChildren } from "preact";
import { unwrap } from "../../../../client/mod.ts";
import { useMe, usePermission } from "../../lib/queries.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { CodeBlock } from "../../ui/display.tsx";
import { EmptyState, Loading } from "../../ui/feedback.tsx";
import { useDataFiles } from "../files/file_queries.ts";

const exampleRow = `{"messages": [
  {"role": "user", "content": "Where is my order?"},
  {"role": "assistant", "content": "I'll check. What is your order number?"}
]}`;

export function GettingStarted() {
  const { data: me } = useMe();
  const canCreate = usePermission("jobs:write");
  const files = useDataFiles();
  const keys = useQuery({
    queryKey: ["keys", "any"],
    enabled: canCreate,
    queryFn: async () =>
      unwrap(await getServices().api.GET("/api_keys", { params: { query: { limit: 1 } } })).data,
  });
  if (me === undefined) return <Loading />;
  if (!canCreate) {
    return (
      <EmptyState title="No jobs yet">
        <p>Your role is view-only. Ask a project owner for the developer role to create jobs.</p>
      </EmptyState>
    );
  }
  const hasData = (files.data?.length ?? 0) > 0;
  return (
    <section aria-labelledby="start">
      <h2 id="start">No jobs yet</h2>
      <p class="quiet">
        A fine-tuning job trains a base model on your examples. You see the estimated cost before you start
        it.
      </p>
      <ol class="checklist">
        <Step isDone={hasData} title="Upload your examples">
          <p class="quiet">
            JSON Lines, one conversation per line. CSV, ShareGPT and Alpaca files are converted. You can also
            start with sample data.
          </p>
          <CodeBlock label="A row (on one line)" text={exampleRow} />
        </Step>
        <Step isDone={false} title="Start a fine-tune">
          <a class="button primary" href={href(["new"])}>Create your first fine-tune</a>
        </Step>
        <Step isDone={false} title="Evaluate the result">
          <p class="quiet">
            Ask the model and its base the same questions in the{" "}
            <a href={href(["playground"])}>playground</a>, or evaluate both over held-out rows.
          </p>
        </Step>
        <Step isDone={(keys.data?.length ?? 0) > 0} title="Call it from your code">
          <p class="quiet">
            Create an <a href={href(["keys"])}>API key</a> and use any OpenAI SDK with this base URL:{" "}
            <code>{getServices().config.apiUrl}</code>
          </p>
        </Step>
      </ol>
    </section>
  );
}

const Step = ({ isDone, title, children }: {
  isDone: boolean;
  title: string;
  children: ComponentChildren;
}) => (
  <li class={isDone ? "done" : ""}>
    <h3>
      {title}
      {isDone && <span class="unseen">(done)</span>}
    </h3>
    {children}
  </li>
);
