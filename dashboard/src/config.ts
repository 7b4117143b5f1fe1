/** Where the API is: `config.json` beside index.html, so that one build is hosted anywhere. */
export interface Config {
  /** `https://<ref>.supabase.co` */
  supabaseUrl: string;
  /** `sb_publishable_…`: may be public. */
  publishableKey: string;
  /** `{supabaseUrl}/functions/v1/tunebase` unless it is told. */
  apiUrl: string;
}

/** Reads it; throws an Error that says what to write where. */
export async function loadConfig(): Promise<Config> {
  const address = new URL("config.json", document.baseURI).href;
  const fix = `Write the project's URL and publishable key into ${address}: ` +
    '{"supabaseUrl": "https://<ref>.supabase.co", "publishableKey": "sb_publishable_…"}.';
  const response = await fetch(address, { cache: "no-cache" });
  if (!response.ok) throw new Error(`config.json was answered with ${response.status}. ${fix}`);
  const read: Partial<Record<string, unknown>> = await response.json().catch(() => {
    throw new Error(`config.json is not JSON. ${fix}`);
  });
  const { supabaseUrl, publishableKey, apiUrl } = read;
  if (typeof supabaseUrl !== "string" || !URL.canParse(supabaseUrl)) {
    throw new Error(`config.json: supabaseUrl = ${JSON.stringify(supabaseUrl)} is not a URL. ${fix}`);
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
