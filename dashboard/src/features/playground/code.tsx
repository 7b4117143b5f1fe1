/** The next request as code to copy. */
import type { ChatRequest } from "../../../../client/chat_stream.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { CodeChoice } from "../../ui/code_choice.tsx";
import { languages, snippet } from "./snippets.ts";

export const Code = ({ request }: { request: ChatRequest }) => (
  <section aria-labelledby="code">
    <h2 id="code">Call it from your code</h2>
    <p class="quiet">
      The request above, for the official OpenAI SDKs. Set <code>TUNEBASE_API_KEY</code> to an{" "}
      <a href={href(["keys"])}>API key</a>.
    </p>
    <CodeChoice
      legend="Language"
      snippets={languages.map((language) => ({
        label: language,
        text: snippet(language, getServices().config.apiUrl, request),
      }))}
    />
  </section>
);
