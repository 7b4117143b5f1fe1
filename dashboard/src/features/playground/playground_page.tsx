/** Asks a fine-tuned model and its base the same questions, side by side. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { ChatRequest } from "../../../../client/chat_stream.ts";
import { useMe, useModels, usePermission } from "../../lib/queries.ts";
import { href, navigate, type PageProps, type Route } from "../../lib/router.ts";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { Code } from "./code.tsx";
import { Composer, draftOf, readDraft } from "./composer.tsx";
import { ModelSelect } from "./model_select.tsx";
import { defaultModel, findModel, type ModelList, type PlaygroundModel } from "./models.ts";
import { RowPicker } from "./row_picker.tsx";
import { type PickedRow, useNextRow } from "./rows.ts";
import { loadState, type ModelChoice, type PlaygroundState, saveState } from "./session.ts";
import { buildRequest, type CheckedSettings, checkSettings } from "./settings.ts";
import { SettingsFields } from "./settings_fields.tsx";
import { before, type Turn } from "./turns.ts";
import { TurnView } from "./turn_view.tsx";
import { useConversation } from "./use_conversation.ts";
import { Warm } from "./warm.tsx";

export function PlaygroundPage({ route }: PageProps) {
  const models = useModels();
  return (
    <Page title="Playground">
      <QueryBoundary query={models} what="models">
        {(models) =>
          models.base.length + models.fineTuned.length === 0
            ? (
              <EmptyState title="No models yet">
                <p>
                  Ask your fine-tuned models and their base the same questions here, and compare the answers.
                  Ask the operator of this installation to add a base model.
                </p>
              </EmptyState>
            )
            : <Playground models={models} route={route} />}
      </QueryBoundary>
    </Page>
  );
}

function Playground({ models, route }: { models: ModelList; route: Route }) {
  const [state, setState] = useState<PlaygroundState>(loadState);
  const change = (fields: Partial<PlaygroundState>) => setState((before) => ({ ...before, ...fields }));
  const { settings, draft } = state;
  const { model, compared, choose } = useChosenModels(
    models,
    route,
    state.models,
  );
  const chosen = [model, compared].flatMap((name) => name === null ? [] : findModel(models, name) ?? []);
  const checked = useMemo(() => checkSettings(settings), [settings]);
  const [announcement, setAnnouncement] = useState("");
  const conversation = useConversation(
    state.turns,
    chosen,
    checked,
    setAnnouncement,
  );
  const { turns } = conversation;
  const readChoice = {
    model: route.query.get("model"),
    compare: route.query.get("compare"),
  };
  useStored({
    ...state,
    turns,
    models: readChoice.model === null ? state.models : readChoice,
  });
  const [isPicking, setIsPicking] = useState(false);
  const [picked, setPicked] = useState(draft.picked);
  const [fileId, setFileId] = useState(picked?.file.id ?? null);
  const nextRow = useNextRow(picked);
  const pick = (picked: PickedRow) => {
    setPicked(picked);
    change({ draft: draftOf(picked) });
  };
  const forbidden = useWhyForbidden();
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (turns.length > 0) {
      list.current?.lastElementChild?.scrollIntoView({ block: "nearest" });
    }
  }, [turns.length]);
  return (
    <>
      <section aria-label="Models and settings">
        <div class="fields pair">
          <ModelSelect
            label="Model"
            models={models}
            value={model}
            onChange={(id) => choose({ model: id })}
          />
          <ModelSelect
            label="Compare with"
            models={models}
            value={compared}
            onChange={(id) => choose({ compare: id ?? "none" })}
            optional
          />
        </div>
        {model !== null && findModel(models, model) === null && (
          <p class="problem" role="alert">
            This project has no model {model}. Choose another one.
          </p>
        )}
        {chosen.map((one) => <Unavailable key={one.id} model={one} />)}
        {forbidden === null && chosen.length > 0 && chosen.every(({ unavailable }) => unavailable === null) &&
          <Warm models={chosen} />}
        {models.fineTuned.length === 0 && (
          <p class="notice">
            No fine-tuned models yet. Try a base model here, or <a href={href(["new"])}>create a fine-tune</a>
            {" "}
            and compare it with its base.
          </p>
        )}
        <SettingsFields
          settings={settings}
          checked={checked}
          change={(fields) => change({ settings: { ...settings, ...fields } })}
        />
      </section>
      <section aria-labelledby="conversation">
        <div class="page-head">
          <h2 id="conversation">Conversation</h2>
          {turns.length > 0 && (
            <button
              type="button"
              onClick={() => {
                conversation.reset();
                focusMessage(); // this button disappears
              }}
            >
              New conversation
            </button>
          )}
        </div>
        {turns.length === 0 && (
          <p class="quiet">
            {compared === null ? "Ask the model something." : "Both models receive the same messages."}{" "}
            Pick a row of a data file to see its expected answer next to the model's.
          </p>
        )}
        <div ref={list}>
          {turns.map((turn, n) => (
            <TurnView
              key={n}
              turn={turn}
              number={n}
              conversation={conversation}
            />
          ))}
        </div>
        <p class="unseen" role="status">{announcement}</p>
        <Composer
          draft={draft}
          onDraft={(draft) => change({ draft })}
          onSend={conversation.send}
          onStop={conversation.stop}
          onPickRow={() => setIsPicking(true)}
          onNextRow={nextRow && (() => pick(nextRow))}
          isBusy={conversation.isBusy}
          blocked={forbidden ?? whyBlocked(chosen, Object.keys(checked.errors).length > 0)}
        />
      </section>
      {chosen[0] !== undefined && (
        <Code
          request={requestToShow(
            chosen[0].id,
            readDraft(draft),
            turns,
            checked,
          )}
        />
      )}
      {isPicking && (
        <RowPicker
          jobId={chosen.find(({ jobId }) => jobId !== null)?.jobId ?? null}
          fileId={fileId}
          onFile={setFileId}
          onPick={(picked) => {
            setIsPicking(false);
            pick(picked);
            focusMessage();
          }}
          onClose={() => setIsPicking(false)}
        />
      )}
    </>
  );
}

const focusMessage = () => document.getElementById("message")?.focus();

/** The request that the draft would send to the first model; without a draft, the latest request. */
function requestToShow(
  model: string,
  next: Omit<Turn, "columns"> | null,
  turns: Turn[],
  settings: CheckedSettings,
): ChatRequest {
  const at = next === null ? turns.length - 1 : turns.length;
  const turn = next ?? turns[at];
  const { messages, tools } = turn?.startsOver ? { messages: [], tools: turn.tools } : before(turns, at, 0);
  return buildRequest(
    model,
    [...messages, ...turn?.messages ?? [{ role: "user", content: "Hello!" }]],
    settings,
    tools,
  );
}

const Unavailable = (
  { model: { id, unavailable } }: { model: PlaygroundModel },
) =>
  unavailable === null ? null : (
    <p class="notice">
      <strong>{id}</strong> can't answer: {unavailable}
    </p>
  );

/** Why the user cannot call models; null if they can, and while that is loading. */
function useWhyForbidden(): string | null {
  const { data: me } = useMe();
  const canAsk = usePermission("inference");
  if (canAsk || me === undefined) return null;
  return me.project?.status === "archived"
    ? "This project is archived. Its models don't answer."
    : "Your role doesn't allow calling models. Ask a project owner for the developer role.";
}

function whyBlocked(chosen: PlaygroundModel[], hasErrors: boolean): string | null {
  if (chosen.length === 0) return "Choose a model.";
  if (chosen.some(({ unavailable }) => unavailable !== null)) {
    return "Choose models that can answer.";
  }
  return hasErrors ? "Fix the settings first." : null;
}

/** The models in the URL. Missing ones are added from the session. */
function useChosenModels(
  models: ModelList,
  { query }: Route,
  stored: ModelChoice,
) {
  const isNamed = query.get("model") !== null;
  const model = query.get("model") ?? stored.model ?? defaultModel(models);
  const compare = isNamed ? query.get("compare") : stored.compare;
  const found = model === null ? null : findModel(models, model);
  const base = found === null || found.kind === "base" ? null : found.base;
  const compared = compare === "none" || compare === model ? null : compare ?? base;
  const choose = (choice: Partial<ModelChoice>) =>
    navigate(["playground"], { model, compare, ...choice }, { replace: true });
  useEffect(() => {
    if (!isNamed) choose({});
  }, [isNamed]);
  return { model, compared, choose };
}

/** Stores the state for a reload. While an answer is streaming, only on leaving the page, because storing is slow. */
function useStored(state: PlaygroundState): void {
  const latest = useRef(state);
  latest.current = state;
  useEffect(() => {
    const timer = setTimeout(() => saveState(latest.current), 500);
    return () => clearTimeout(timer);
  }, [
    state.models.model,
    state.models.compare,
    state.settings,
    state.draft,
    state.turns,
  ]);
  useEffect(() => {
    const save = () => saveState(latest.current);
    addEventListener("pagehide", save);
    return () => {
      removeEventListener("pagehide", save);
      save();
    };
  }, []);
}
