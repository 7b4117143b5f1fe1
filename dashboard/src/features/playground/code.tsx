/** The next request as code to copy. */
import { useState } from "preact/hooks";
import type { ChatRequest } from "../../../../client/chat_stream.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { CopyButton } from "../../ui/display.tsx";
import { type Language, languages, snippet } from "./snippets.ts";

export function Code({ request }: { request: ChatRequest }) {
  const [language, setLanguage] = useState<Language>("curl");
  const text = snippet(language, getServices().config.apiUrl, request);
  return (
    <section aria-labelledby="code">
      <h2 id="code">Call it from your code</h2>
      <p class="quiet">
        The request above, for the official OpenAI SDKs. Set <code>TUNEBASE_API_KEY</code> to an{" "}
        <a href={href(["keys"])}>API key</a>.
      </p>
      <figure class="code">
        <figcaption>
          <fieldset class="ways">
            <legend class="unseen">Language</legend>
            {languages.map((name) => (
              <label key={name}>
                <input
                  type="radio"
                  name="language"
                  checked={name === language}
                  onChange={() => setLanguage(name)}
                />{" "}
                {name}
              </label>
            ))}
          </fieldset>
          <CopyButton text={text} label={`Copy as ${language}`} />
        </figcaption>
        <pre tabIndex={0} aria-label={language}>{text}</pre>
      </figure>
    </section>
  );
}
