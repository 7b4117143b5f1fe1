#!/usr/bin/env -S deno run -A
/**
 * The entry point of the `tunebase` CLI. `task cli` bundles it into one file for Node 20+; `deno run -A cli/main.ts` runs
 * the source. `docs/cli.md` documents the output and the exit codes.
 */
import process from "node:process";
import { createProgram } from "./program.ts";
import { runProgram } from "./run.ts";

await runProgram(createProgram(), process.argv.slice(2));
