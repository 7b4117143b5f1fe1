/** The job's log, newest first. */
import { formatClock, formatFullTime } from "../../lib/format.ts";
import type { JobEvent } from "../../lib/types.ts";

export function Log({ events }: { events: JobEvent[] }) {
  if (events.length === 0) return <p class="quiet">No messages yet.</p>;
  return (
    <ol class="log" reversed tabIndex={0} aria-label="Log, newest first">
      {events.toReversed().map(({ id, level, message, created_at }) => (
        <li key={id} class={level}>
          <time
            dateTime={new Date(created_at * 1000).toISOString()}
            title={formatFullTime(created_at)}
          >
            {formatClock(created_at)}
          </time>
          <span>{level === "info" ? message : `${level}: ${message}`}</span>
        </li>
      ))}
    </ol>
  );
}
