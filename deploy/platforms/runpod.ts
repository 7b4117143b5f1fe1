/** RunPod's REST API, version 2 (https://api.runpod.io/v2), as far as a deployment needs it. */
import type { PlatformOptions } from "./request.ts";

export class RunpodApi {
  readonly #options: PlatformOptions;
  constructor(baseUrl: string, token: string) {
    this.#options = { platform: "RunPod", baseUrl, token };
  }
}
