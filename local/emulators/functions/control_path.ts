/** The path on which the runner queries an isolate's pending work (GET) and announces its shutdown (POST). */
export const runtimePath = "/-/isolate";
