/** Completions that were sent with `store: true`: filter them, and create a training file from them. */
import { useState } from "preact/hooks";
import { useMe, useModels } from "../../lib/queries.ts";
import { href, navigate, type PageProps } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { CodeBlock } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { LoadMore } from "../../ui/table.tsx";
import { CompletionView } from "./completion_view.tsx";
import { type CompletionFilter, parseMetadata, useCompletions } from "./completion_queries.ts";
import { DatasetForm } from "./dataset_form.tsx";
import { StorageSettings } from "./storage_settings.tsx";

export function CompletionsPage({ route }: PageProps) {
  const metadata = route.query.get("metadata") ?? "";
  const filter: CompletionFilter = {
    model: route.query.get("model") ?? "",
    // An invalid filter must not pass as an empty one, or the dataset would include all completions.
    metadata: parseMetadata(metadata) === null ? "" : metadata,
  };
  const { data: me } = useMe();
  const completions = useCompletions(filter);
  const isFiltered = filter.model !== "" || filter.metadata !== "";
  return (
    <Page title="Stored completions">
      <p class="quiet">
        Real questions and answers make the best data for your next fine-tune. A request with{" "}
        <code>store: true</code> is stored here with its answer.
      </p>
      {me?.project && <StorageSettings key={me.project.id} project={me.project} />}
      <Filters key={route.query.toString()} filter={filter} />
      <QueryBoundary query={completions} what="completions">
        {(list) =>
          list.length === 0
            ? isFiltered
              ? (
                <EmptyState title="No completions match these filters">
                  <a href={href(["completions"])}>Clear filters</a>
                </EmptyState>
              )
              : (
                <NoCompletions
                  isStoring={me?.project?.store_completions === true}
                />
              )
            : (
              <>
                <DatasetForm filter={filter} />
                <ul class="plain" aria-label="Stored completions">
                  {list.map((completion) => (
                    <CompletionView
                      key={completion.id}
                      completion={completion}
                    />
                  ))}
                </ul>
                <LoadMore query={completions} />
              </>
            )}
      </QueryBoundary>
    </Page>
  );
}

function Filters({ filter }: { filter: CompletionFilter }) {
  const { data: models } = useModels();
  const [metadata, setMetadata] = useState(filter.metadata);
  const isInvalid = parseMetadata(metadata) === null;
  const apply = (change: Partial<CompletionFilter>) =>
    navigate(["completions"], { ...filter, ...(isInvalid ? {} : { metadata }), ...change }, {
      replace: true,
    });
  return (
    <form
      class="filters"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        if (!isInvalid) apply({});
      }}
    >
      <label>
        Model{" "}
        <select
          value={filter.model}
          onChange={(event) => apply({ model: event.currentTarget.value })}
        >
          <option value="">All</option>
          {[...models?.fineTuned ?? [], ...models?.base ?? []].map(({ id }) => (
            <option key={id} value={id}>{id}</option>
          ))}
        </select>
      </label>
      <label>
        Metadata{" "}
        <input
          placeholder="key=value"
          aria-invalid={isInvalid}
          value={metadata}
          onInput={(event) => setMetadata(event.currentTarget.value)}
          onChange={() => !isInvalid && apply({})}
        />
      </label>
      {isInvalid && (
        <span class="field-error" role="alert">
          Write key=value, for example rating=good.
        </span>
      )}
    </form>
  );
}

const NoCompletions = ({ isStoring }: { isStoring: boolean }) => (
  <EmptyState title="No stored completions yet">
    <p>
      {isStoring
        ? "Add store to your requests, and metadata to find them by:"
        : "Once storing is on, add store to your requests, and metadata to find them by:"}
    </p>
    <CodeBlock
      label="Python"
      text={`client = OpenAI(base_url="${getServices().config.apiUrl}", api_key=os.environ["TUNEBASE_API_KEY"])
client.chat.completions.create(
    model="ft:…",
    messages=[{"role": "user", "content": "Where is my order?"}],
    store=True,
    metadata={"rating": "good"},
)`}
    />
  </EmptyState>
);
