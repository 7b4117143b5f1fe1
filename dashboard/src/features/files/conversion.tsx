/** How a file in another format was converted: three rows before and after. */
import { describeFormat } from "../../../../supabase/functions/_shared/datasets/convert/format_names.ts";
import { formatCount } from "../../lib/format.ts";
import type { ApiFile } from "../../lib/types.ts";
import { FieldList } from "../../ui/display.tsx";

export function Conversion({ file: { source_format, conversion } }: { file: ApiFile }) {
  if (source_format === null || conversion === null) return null;
  const { rows, ignored_fields, sample = [] } = conversion;
  return (
    <section aria-labelledby="conversion">
      <h2 id="conversion">Conversion</h2>
      <p class="quiet">
        Tunebase converted this file to the format it trains on. Download returns your original file.
      </p>
      <FieldList
        fields={[
          ["Source format", describeFormat(source_format)],
          ["Converted rows", formatCount(rows)],
          ["Ignored fields", ignored_fields.length === 0 ? "none" : ignored_fields.join(", ")],
        ]}
      />
      <ul class="samples">
        {sample.map(({ line, before, after }) => (
          <li key={line}>
            <p>Line {line}</p>
            <FieldList
              fields={[
                ["Before", <code key="before">{before}</code>],
                ["After", <code key="after">{after}</code>],
              ]}
            />
          </li>
        ))}
      </ul>
    </section>
  );
}
