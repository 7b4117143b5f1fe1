/** System prompt, sampling and tools. */
import { useState } from "preact/hooks";
import { pluralize } from "../../lib/format.ts";
import { Field } from "../../ui/forms.tsx";
import { type CheckedSettings, type Settings, toolsExample } from "./settings.ts";

export function SettingsFields({ settings, checked, change }: {
  settings: Settings;
  checked: CheckedSettings;
  change: (fields: Partial<Settings>) => void;
}) {
  const { errors } = checked;
  const summary = summarize(checked);
  // Only initially: clearing a field must not close the form.
  const [isOpen] = useState(summary !== "" || Object.keys(errors).length > 0);
  return (
    <details open={isOpen}>
      <summary>
        Settings{summary !== "" && <span class="quiet small">{` · ${summary}`}</span>}
      </summary>
      <Field label="System prompt">
        {(control) => (
          <textarea
            {...control}
            rows={2}
            value={settings.system}
            onInput={(event) => change({ system: event.currentTarget.value })}
          />
        )}
      </Field>
      <div class="fields pair">
        <Field
          label="Temperature"
          error={errors.temperature}
          hint="0 to 2. 0 always picks the most likely token, which makes answers comparable."
        >
          {(control) => (
            <input
              {...control}
              inputMode="decimal"
              placeholder="model's default"
              value={settings.temperature}
              onInput={(event) => change({ temperature: event.currentTarget.value })}
            />
          )}
        </Field>
        <Field
          label="Max tokens"
          error={errors.maxTokens}
          hint="Maximum length of an answer."
        >
          {(control) => (
            <input
              {...control}
              inputMode="numeric"
              placeholder="context limit"
              value={settings.maxTokens}
              onInput={(event) => change({ maxTokens: event.currentTarget.value })}
            />
          )}
        </Field>
      </div>
      <Field
        label="Tools"
        error={errors.tools}
        hint="A JSON array of functions that the model can call. You enter their results."
      >
        {(control) => (
          <textarea
            {...control}
            class="json"
            rows={settings.tools === "" ? 2 : 8}
            spellcheck={false}
            value={settings.tools}
            onInput={(event) => change({ tools: event.currentTarget.value })}
          />
        )}
      </Field>
      {settings.tools === "" && (
        <button
          type="button"
          class="small"
          onClick={() => change({ tools: toolsExample })}
        >
          Insert an example tool
        </button>
      )}
    </details>
  );
}

/** A summary for the closed form: "system prompt, temperature 0, 2 tools". */
function summarize(
  { system, fields: { temperature, max_completion_tokens, tools } }: CheckedSettings,
) {
  return [
    system === null ? "" : "system prompt",
    temperature === undefined ? "" : `temperature ${temperature}`,
    max_completion_tokens === undefined ? "" : `at most ${pluralize(max_completion_tokens, "token")}`,
    tools === undefined ? "" : pluralize(tools.length, "tool"),
  ].filter((part) => part !== "").join(", ");
}
