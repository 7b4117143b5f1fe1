/** Composes the next prompt: a message, or a row of a file. */
import { useRef } from "preact/hooks";
import { formatCount } from "../../lib/format.ts";
import type { PickedRow, PromptRow } from "./rows.ts";
import { type Draft, emptyDraft } from "./session.ts";
import { MessageList } from "./turn_view.tsx";
import type { Turn } from "./turns.ts";

interface Props {
  draft: Draft;
  onDraft: (draft: Draft) => void;
  onSend: (turn: Omit<Turn, "columns">) => void;
  onStop: () => void;
  onPickRow: () => void;
  /** null: there is no next row. */
  onNextRow: (() => void) | null;
  isBusy: boolean;
  /** Why sending is disabled. */
  blocked: string | null;
}

export function Composer(
  { draft, onDraft, onSend, onStop, onPickRow, onNextRow, isBusy, blocked }: Props,
) {
  const input = useRef<HTMLTextAreaElement>(null);
  const turn = readDraft(draft);
  const canSend = turn !== null && !isBusy && blocked === null;
  const send = () => {
    if (!canSend) return;
    onSend(turn);
    onDraft(emptyDraft);
  };
  const { picked } = draft;
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {picked !== null && (
        <PickedRowView
          picked={picked}
          onRemove={() => onDraft({ ...draft, picked: null })}
        />
      )}
      <label class="unseen" for="message">Message</label>
      <textarea
        id="message"
        ref={input}
        rows={3}
        placeholder={picked === null ? "Ask something" : ""}
        value={draft.text}
        onInput={(event) => onDraft({ ...draft, text: event.currentTarget.value })}
        onKeyDown={(event) => {
          // With an input method editor, Enter only confirms the word.
          if (
            event.key !== "Enter" || event.shiftKey || event.isComposing
          ) return;
          event.preventDefault();
          send();
        }}
      />
      <div class="actions">
        <button type="submit" class="primary" disabled={!canSend}>Send</button>
        {isBusy && (
          <button
            type="button"
            class="danger"
            onClick={() => {
              onStop();
              input.current?.focus(); // this button disappears
            }}
          >
            Stop
          </button>
        )}
        <button type="button" onClick={onPickRow}>Pick a row</button>
        {onNextRow && (
          <button
            type="button"
            onClick={() => {
              onNextRow();
              input.current?.focus();
            }}
          >
            Next row
          </button>
        )}
        <span class="quiet small">
          {blocked ?? "Enter sends, Shift+Enter adds a line"}
        </span>
      </div>
    </form>
  );
}

function PickedRowView(
  { picked, onRemove }: { picked: PickedRow; onRemove: () => void },
) {
  const { row } = picked;
  const earlier = withoutQuestion(row);
  return (
    <div class="notice">
      <p>
        <strong>{sourceOf(picked)}</strong>{" "}
        <button type="button" class="small" onClick={onRemove}>
          Don't use this row
        </button>
      </p>
      {earlier.length > 0 && <MessageList messages={earlier} />}
      {row.expected !== null && (
        <details>
          <summary>Expected answer</summary>
          <p class="said">{row.expected}</p>
        </details>
      )}
    </div>
  );
}

const sourceOf = ({ file, row }: PickedRow) => `Row ${formatCount(row.number)} of ${file.name}`;

/** A row's last message is edited as the draft's text, if it is the user's. */
const asksLast = (row: PromptRow) => row.messages.at(-1)?.role === "user";
const withoutQuestion = (row: PromptRow) => asksLast(row) ? row.messages.slice(0, -1) : row.messages;

/** The draft of a row. */
export function draftOf(picked: PickedRow): Draft {
  const { row } = picked;
  return {
    picked,
    text: asksLast(row) ? row.messages.at(-1)?.content ?? "" : "",
  };
}

/** The turn that the draft sends; null if it is empty. */
export function readDraft(
  { text, picked }: Draft,
): Omit<Turn, "columns"> | null {
  const question = text.trim() === "" ? [] : [{ role: "user" as const, content: text }];
  if (picked === null) {
    return question.length === 0 ? null : {
      messages: question,
      tools: null,
      source: null,
      expected: null,
      startsOver: false,
    };
  }
  const { row } = picked;
  if (question.length === 0 && asksLast(row)) return null;
  return {
    messages: [...withoutQuestion(row), ...question],
    tools: row.tools,
    source: sourceOf(picked),
    expected: row.expected,
    startsOver: true,
  };
}
