/** Values: times, statuses, named fields, code to copy. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { formatFullTime, formatTime, humanize } from "../lib/format.ts";

/** A time in the user's time zone; hovering shows it in full. */
export const Time = ({ at }: { at: number | null }) =>
  at === null ? <span class="quiet">–</span> : (
    <time
      dateTime={new Date(at * 1000).toISOString()}
      title={formatFullTime(at)}
    >
      {formatTime(at)}
    </time>
  );

const tones: Record<string, string> = {
  succeeded: "good",
  processed: "good",
  delivered: "good",
  ok: "good",
  enabled: "good",
  active: "good",
  running: "busy",
  validating_files: "busy",
  uploaded: "busy",
  pending: "busy",
  queued: "busy",
  paused: "warn",
  warn: "warn",
  late: "bad",
  unreachable: "bad",
  failed: "bad",
  error: "bad",
  dead: "bad",
  disabled: "bad",
  revoked: "bad",
};
const labels: Record<string, string> = {
  processed: "ready",
  uploaded: "validating",
  dead: "failed",
  warn: "warning",
};

/** A status label; the color repeats its meaning. */
export const Status = ({ value, label }: { value: string; label?: string }) => (
  <span class={`status ${tones[value] ?? "plain"}`}>
    {label ?? labels[value] ?? humanize(value)}
  </span>
);

/** Names and values. */
export const FieldList = (
  { fields }: { fields: [string, ComponentChildren][] },
) => (
  <dl class="facts">
    {fields.map(([name, value]) => (
      <div key={name}>
        <dt>{name}</dt>
        <dd>{value}</dd>
      </div>
    ))}
  </dl>
);

const feedbackMs = 2500;

export function CopyButton(
  { text, label = "Copy" }: { text: string; label?: string },
) {
  const [feedback, setFeedback] = useState<string | null>(null);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setFeedback("Copied");
    } catch {
      setFeedback("Select the text and copy it manually"); // no permission, or not https
    }
    setTimeout(() => setFeedback(null), feedbackMs);
  };
  return (
    <button
      type="button"
      class="small"
      onClick={() => void copy()}
      aria-live="polite"
    >
      {feedback ?? label}
    </button>
  );
}

export const CodeBlock = ({ text, label }: { text: string; label: string }) => (
  <figure class="code">
    <figcaption>
      {label} <CopyButton text={text} />
    </figcaption>
    <pre tabIndex={0} aria-label={label}>{text}</pre>
  </figure>
);
