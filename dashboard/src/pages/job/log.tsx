/** What the job has said, the newest first. */
import type { Event } from "../../data.ts";
import { clockTime, exactTime } from "../../format.ts";

export function Log({ events }: { events: Event[] }) {
  if (events.length === 0) return <p class="quiet">Nothing yet.</p>;
  return (
    <ol class="log" reversed tabIndex={0} aria-label="Log, the newest first">
      {events.toReversed().map(({ id, level, message, created_at }) => (
        <li key={id} class={level}>
          <time dateTime={new Date(created_at * 1000).toISOString()} title={exactTime(created_at)}>
            {clockTime(created_at)}
          </time>
          <span>{level === "info" ? message : `${level}: ${message}`}</span>
        </li>
      ))}
    </ol>
  );
}
