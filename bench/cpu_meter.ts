/** How much CPU the process of a function has used: the kernel's scheduler counts it in nanoseconds. */

/** Of all its threads so far, in milliseconds. */
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
 * What each of up to `times` calls used, in milliseconds, and what it left to the background for `settleMs`. A call that
 * returns false had nothing to do: it does not count, and is the last.
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
