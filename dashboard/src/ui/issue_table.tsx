/** Errors or warnings of a training file: where, what is wrong, and how to fix it. */
import { formatCount } from "../lib/format.ts";
import type { DatasetIssue } from "../lib/types.ts";
import { Table } from "./table.tsx";

export const IssueTable = (
  { issues, label }: { issues: DatasetIssue[]; label: string },
) => (
  <Table label={label} columns={["Line", "Field", "Problem", "Fix"]}>
    {issues.map(({ line, field, what, fix }, n) => (
      <tr key={n}>
        <th scope="row">{line === null ? "file" : formatCount(line)}</th>
        <td>
          <code>{field ?? "–"}</code>
        </td>
        <td>{what}</td>
        <td>{fix}</td>
      </tr>
    ))}
  </Table>
);
