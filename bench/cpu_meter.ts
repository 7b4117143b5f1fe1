/** CPU time of a function's process, which the kernel's scheduler counts in nanoseconds. */

/** CPU time of all threads so far, in milliseconds. */
export function cpuMs(pid: number): number {
  let ns = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    // "time on the CPU, time waiting for it, time slices"
    const [onCpu = "0"] = Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`).split(" ");
    ns += Number(onCpu);
  }
  return ns / 1e6;
}

/**
 * CPU milliseconds of each of up to `times` calls, including background work during `settleMs`. A call that returns false
 * had nothing to do: it does not count and ends the measurement.
 */
export async function meter(
  pid: number,
  times: number,
  call: (n: number) => Promise<boolean>,
  settleMs = 10,
): Promise<number[]> {
  const used: number[] = [];
  for (let n = 0; n < times; n++) {
    const before = cpuMs(pid);
    if (!await call(n)) break;
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    used.push(cpuMs(pid) - before);
  }
  return used;
}
