/** How a file in another format was converted: three rows before and after. */
import type { File } from "../data.ts";
import { count, words } from "../format.ts";
import { Facts } from "./basics.tsx";

export function Conversion({ of: { source_format, conversion } }: { of: File }) {
  if (source_format === null || conversion === null) return null;
  const { rows, ignored_fields, sample = [] } = conversion;
  return (
    <section aria-labelledby="conversion">
      <h2 id="conversion">Conversion</h2>
      <p class="quiet">
        This file was converted to the format that models are trained on. Download returns your original file.
      </p>
      <Facts
        of={[
          ["Source format", words(source_format)],
          ["Converted rows", count(rows)],
          ["Ignored fields", ignored_fields.length === 0 ? "none" : ignored_fields.join(", ")],
        ]}
      />
      {sample.map(({ line, before, after }) => (
        <div key={line}>
          <h3>Line {line}</h3>
          <Facts
            of={[
              ["Before", <code key="before">{before}</code>],
              ["After", <code key="after">{after}</code>],
            ]}
          />
        </div>
      ))}
    </section>
  );
}
