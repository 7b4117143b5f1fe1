/** Where the runner asks an isolate for its pending work (GET), and announces its end (POST). */
export const runtimePath = "/-/isolate";
