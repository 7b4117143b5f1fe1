/**
 * Runs several test files in one process: `deno test several_files.ts -- FILE…`, relative to the root. They load and
 * compile the functions and their libraries once.
 */
for (const file of Deno.args) await import(`../../${file}`);
