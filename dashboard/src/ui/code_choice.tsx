/** Tabs with the same code in several languages or for several tools. */
import { useId, useState } from "preact/hooks";
import type { Snippet } from "../lib/types.ts";
import { CopyButton } from "./display.tsx";

export function CodeChoice({ legend, snippets }: { legend: string; snippets: Snippet[] }) {
  const [label, setLabel] = useState(snippets[0]?.label);
  const name = useId();
  const chosen = snippets.find((snippet) => snippet.label === label) ?? snippets[0];
  if (chosen === undefined) return null;
  return (
    <figure class="code">
      <figcaption>
        <fieldset class="ways">
          <legend class="unseen">{legend}</legend>
          {snippets.map((snippet) => (
            <label key={snippet.label}>
              <input
                type="radio"
                name={name}
                checked={snippet === chosen}
                onChange={() => setLabel(snippet.label)}
              />{" "}
              {snippet.label}
            </label>
          ))}
        </fieldset>
        <CopyButton text={chosen.text} label={`Copy as ${chosen.label}`} />
      </figcaption>
      <pre tabIndex={0} aria-label={chosen.label}>{chosen.text}</pre>
    </figure>
  );
}
