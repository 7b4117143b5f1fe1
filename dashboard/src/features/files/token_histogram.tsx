/** Rows by length, marking the lengths that max_length truncates. */
import { useId, useState } from "preact/hooks";
import { formatCompact, formatCount, pluralize } from "../../lib/format.ts";
import type { DatasetReport } from "../../lib/types.ts";
import { barHeight, fillBuckets, formatBound, type Scale, type TokenBucket } from "./token_buckets.ts";

const scales: Scale[] = ["linear", "logarithmic"];

export function TokenHistogram({ histogram, maxLength }: {
  histogram: DatasetReport["tokens"]["histogram"];
  /** Longer rows are marked; null: no limit. */
  maxLength: number | null;
}) {
  const [scale, setScale] = useState<Scale>("linear");
  const name = useId();
  const buckets = fillBuckets(histogram);
  const most = Math.max(...buckets.map(({ rows }) => rows));
  return (
    <figure class="histogram">
      <figcaption>
        <span>Rows by length in tokens</span>
        {maxLength !== null && isLong(buckets.at(-1), maxLength) && (
          <span class="legend">longer than {formatCount(maxLength)}</span>
        )}
        <fieldset class="ways">
          <legend class="unseen">Scale of the row counts</legend>
          {scales.map((option) => (
            <label key={option}>
              <input
                type="radio"
                name={name}
                checked={option === scale}
                onChange={() => setScale(option)}
              />{" "}
              {option}
            </label>
          ))}
        </fieldset>
      </figcaption>
      <ol class={buckets.length > 12 ? "many" : ""}>
        {buckets.map((bucket) => {
          const { from, upTo, rows } = bucket;
          const text = `${describeLengths(bucket)}: ${pluralize(rows, "row")}`;
          return (
            <li
              key={from}
              title={text}
              class={isLong(bucket, maxLength) ? "long" : ""}
            >
              <span class="unseen">{text}</span>
              <span class="count" aria-hidden="true">
                {rows > 0 && formatCompact(rows)}
              </span>
              <i style={{ height: `${8 * barHeight(rows, most, scale)}rem` }} />
              <span class="bound" aria-hidden="true">
                {upTo === null ? "more" : formatBound(upTo)}
              </span>
            </li>
          );
        })}
      </ol>
    </figure>
  );
}

const isLong = (
  bucket: TokenBucket | undefined,
  maxLength: number | null,
): boolean => bucket !== undefined && maxLength !== null && bucket.from > maxLength;

const describeLengths = ({ from, upTo }: TokenBucket): string =>
  upTo === null
    ? `over ${formatCount(from - 1)} tokens`
    : `${formatCount(from)} to ${formatCount(upTo)} tokens`;
