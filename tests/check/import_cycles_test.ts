/** The CLI, the dashboard and the examples have no import cycles. */
import { assertEquals } from "#assert";
import { root } from "../../local/state_dir.ts";

interface ModuleGraph {
  modules: { specifier: string; dependencies?: { code?: Target; type?: Target }[] }[];
}
type Target = { specifier?: string };

for (const entry of ["cli/main.ts", "dashboard/src/main.tsx", "examples/demo/main.ts"]) {
  Deno.test(`${entry} has no import cycles`, async () => {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", entry],
      cwd: root,
      stderr: "null",
    }).output();
    const { modules }: ModuleGraph = JSON.parse(new TextDecoder().decode(stdout));
    const imports = new Map(modules.map(({ specifier, dependencies = [] }) => [
      specifier,
      dependencies.flatMap(({ code, type }) => code?.specifier ?? type?.specifier ?? [])
        .filter((target) => target.startsWith("file:") && target !== specifier),
    ]));
    assertEquals(modules.length > 10, true);
    assertEquals(findCycle(imports), null);
  });
}

/** The modules of a cycle, or null. */
function findCycle(imports: Map<string, string[]>): string[] | null {
  const done = new Set<string>();
  const visit = (module: string, path: string[]): string[] | null => {
    if (path.includes(module)) return [...path.slice(path.indexOf(module)), module];
    if (done.has(module)) return null;
    for (const target of imports.get(module) ?? []) {
      const cycle = visit(target, [...path, module]);
      if (cycle !== null) return cycle;
    }
    done.add(module);
    return null;
  };
  for (const module of imports.keys()) {
    const cycle = visit(module, []);
    if (cycle !== null) return cycle;
  }
  return null;
}
