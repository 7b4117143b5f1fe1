/** The playground's state that survives a reload. The models are also in the URL, for links. */
import { readSession, writeSession } from "../../lib/session_store.ts";
import type { PickedRow } from "./rows.ts";
import { emptySettings, type Settings } from "./settings.ts";
import { stopAll, type Turn } from "./turns.ts";

/** The draft of the next prompt. */
export interface Draft {
  text: string;
  picked: PickedRow | null;
}

export interface ModelChoice {
  model: string | null;
  /** "none", or a model; null is the base of a fine-tuned model. */
  compare: string | null;
}

export interface PlaygroundState {
  models: ModelChoice;
  settings: Settings;
  draft: Draft;
  turns: Turn[];
}

export const emptyDraft: Draft = { text: "", picked: null };
const empty: PlaygroundState = {
  models: { model: null, compare: null },
  settings: emptySettings,
  draft: emptyDraft,
  turns: [],
};

export function loadState(): PlaygroundState {
  const stored = readSession("playground") as PlaygroundState | null;
  return stored === null ? empty : { ...stored, turns: stopAll(stored.turns) };
}

export const saveState = (state: PlaygroundState): void => writeSession("playground", state);
