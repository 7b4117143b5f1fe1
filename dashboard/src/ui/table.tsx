/** Tables and paginated lists. */
import type { ComponentChildren } from "preact";

/** A table that scrolls horizontally when it is too wide, with the keyboard too. */
export const Table = ({ label, columns, children }: {
  label: string;
  columns: string[];
  children: ComponentChildren;
}) => (
  <div class="scroll" role="region" aria-label={label} tabIndex={0}>
    <table>
      <thead>
        <tr>{columns.map((name) => <th scope="col" key={name}>{name}</th>)}</tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  </div>
);

/** Loads a list's next page. */
export const LoadMore = ({ query }: {
  query: {
    hasNextPage: boolean;
    isFetchingNextPage: boolean;
    fetchNextPage: () => unknown;
  };
}) =>
  !query.hasNextPage ? null : (
    <button
      type="button"
      disabled={query.isFetchingNextPage}
      onClick={() => void query.fetchNextPage()}
    >
      {query.isFetchingNextPage ? "Loading …" : "Load more"}
    </button>
  );
