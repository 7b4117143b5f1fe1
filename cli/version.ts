/** The CLI's version, from the package it is published as. */
import manifest from "./npm/package.json" with { type: "json" };

export const version: string = manifest.version;
export const userAgent = `tunebase-cli/${version}`;
