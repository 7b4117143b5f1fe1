/** Merges curves with different x values into columns over shared x values. Imports nothing, so that tests can run it alone. */
export function overlay(
  curves: readonly (readonly (readonly [x: number, y: number])[])[],
): { x: number[]; columns: (number | null)[][] } {
  const x = [...new Set(curves.flatMap((points) => points.map(([at]) => at)))].sort((a, b) => a - b);
  const columns = curves.map((points) => {
    const byX = new Map(points);
    return x.map((at) => byX.get(at) ?? null);
  });
  return { x, columns };
}
