/** How many of `rows` a validation split holds out. `trainer/tunebase_trainer/data/split.py` implements the same. */
export function heldOut(rows: number, split: number): number {
  return split === 0 ? 0 : Math.max(0, Math.min(rows - 1, Math.max(1, Math.floor(rows * split))));
}
