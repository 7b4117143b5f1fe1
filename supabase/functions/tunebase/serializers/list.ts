/** OpenAI's list objects. */
import type { Page } from "../rows.ts";

/** Serializes a page as a list object. */
export function renderList<Row, Item extends { id: string }>(
  page: Page<Row>,
  render: (row: Row) => Item,
) {
  const data = page.data.map(render);
  return {
    object: "list" as const,
    data,
    has_more: page.has_more,
    first_id: data.at(0)?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
  };
}
