/** The API's location, from `config.json` next to index.html, so that one build works on any host. */
export interface Config {
  /** `https://<ref>.supabase.co` */
  supabaseUrl: string;
  /** `sb_publishable_…`; not a secret. */
  publishableKey: string;
  /** Default: `{supabaseUrl}/functions/v1/tunebase` */
  apiUrl: string;
}

/** `directory`: the URL of index.html. Throws an Error that says what to write where. */
export async function loadConfig(
  directory: string | URL = document.baseURI,
): Promise<Config> {
  const url = new URL("config.json", directory).href;
  const fix = `Write the project's URL and publishable key to ${url}: ` +
    '{"supabaseUrl": "https://<ref>.supabase.co", "publishableKey": "sb_publishable_…"}.';
  const response = await fetch(url, { cache: "no-cache" });
  if (!response.ok) {
    throw new Error(
      `Could not load config.json (HTTP ${response.status}). ${fix}`,
    );
  }
  const json: Partial<Record<string, unknown>> = await response.json().catch(
    () => {
      throw new Error(`config.json is not valid JSON. ${fix}`);
    },
  );
  const { supabaseUrl, publishableKey, apiUrl } = json;
  if (typeof supabaseUrl !== "string" || !URL.canParse(supabaseUrl)) {
    throw new Error(
      `config.json: supabaseUrl = ${JSON.stringify(supabaseUrl)} is not a URL. ${fix}`,
    );
  }
  if (typeof publishableKey !== "string" || publishableKey === "") {
    throw new Error(`config.json: publishableKey is missing. ${fix}`);
  }
  const base = supabaseUrl.replace(/\/+$/, "");
  return {
    supabaseUrl: base,
    publishableKey,
    apiUrl: typeof apiUrl === "string" && apiUrl !== "" ? apiUrl : `${base}/functions/v1/tunebase`,
  };
}
