/** The first rows of a data file, as conversations. */
import { formatCount } from "../../lib/format.ts";
import type { ApiFile } from "../../lib/types.ts";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { useRows } from "../playground/rows.ts";
import { MessageList } from "../playground/turn_view.tsx";

const shownRows = 3;

export function FirstRows({ file }: { file: ApiFile }) {
  const rows = useRows(file);
  return (
    <section aria-labelledby="first-rows">
      <h2 id="first-rows">First rows</h2>
      <QueryBoundary query={rows} what="rows">
        {(list) => (
          <ol class="plain" aria-label="First rows">
            {list.slice(0, shownRows).map(({ number, messages, tools, expected }) => (
              <li class="turn" key={number}>
                <p class="quiet small">
                  Row {formatCount(number)}
                  {tools !== null &&
                    `, with ${formatCount(tools.length)} ${tools.length === 1 ? "tool" : "tools"}`}
                </p>
                <MessageList messages={messages} />
                {expected !== null && (
                  <div class="answer expected">
                    <h3>Expected answer</h3>
                    <p class="said">{expected}</p>
                  </div>
                )}
              </li>
            ))}
          </ol>
        )}
      </QueryBoundary>
    </section>
  );
}
