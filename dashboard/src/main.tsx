/** The entry point: loads the configuration, initializes the services and renders the app. */
import { render } from "preact";
import { App } from "./app/app.tsx";
import { preloadPage } from "./app/pages.ts";
import { loadConfig } from "./lib/config.ts";
import { initServices } from "./lib/services.ts";
import "./style/index.css";

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no #app");

try {
  preloadPage();
  const { auth } = initServices(await loadConfig());
  // Read the session first: a magic link's tokens are in the fragment, which the router uses too.
  const { data, error } = await auth.getSession();
  const linkError = error?.message ??
    new URLSearchParams(location.hash.slice(1)).get("error_description");
  if (linkError) location.replace("#/");
  render(<App initialSession={data.session} linkError={linkError} />, root);
} catch (error) {
  render(
    <main class="alone">
      <h1>Tunebase</h1>
      <p role="alert" class="problem">
        {error instanceof Error ? error.message : String(error)}
      </p>
    </main>,
    root,
  );
}
