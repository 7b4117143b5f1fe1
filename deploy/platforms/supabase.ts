/** Supabase's Management API (https://api.supabase.com), as far as a deployment needs it. */
import type { PlatformOptions } from "./request.ts";

export class SupabaseApi {
  readonly #options: PlatformOptions;
  constructor(baseUrl: string, token: string) {
    this.#options = { platform: "Supabase", baseUrl: `${baseUrl}/v1`, token };
  }
}
