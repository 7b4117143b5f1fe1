/** The version of Tunebase: `version` in deno.json. Written by `deno task types`. */
export const version = "0.1.0";
