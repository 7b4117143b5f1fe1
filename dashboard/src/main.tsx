/** The entry: reads the configuration, begins the services, shows the app. */
import { render } from "preact";
import { App, loadAhead } from "./app.tsx";
import { loadConfig } from "./config.ts";
import { begin } from "./services.ts";
import "./style.css";

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no #app");

try {
  loadAhead();
  const { auth } = begin(await loadConfig());
  // The session first: a magic link's tokens are in the fragment, where the routes are too.
  const { data, error } = await auth.getSession();
  const linkProblem = error?.message ?? new URLSearchParams(location.hash.slice(1)).get("error_description");
  if (linkProblem) location.replace("#/");
  render(<App first={data.session} problem={linkProblem} />, root);
} catch (error) {
  render(
    <main class="alone">
      <h1>Tunebase</h1>
      <p role="alert" class="problem">{error instanceof Error ? error.message : String(error)}</p>
    </main>,
    root,
  );
}
