/** Errors or warnings of a training file: where, what is wrong, and how to fix it. */
import type { DatasetIssue } from "../lib/types.ts";
import { groupIssues } from "./issue_groups.ts";
import { Table } from "./table.tsx";

export const IssueTable = (
  { issues, label }: { issues: DatasetIssue[]; label: string },
) => (
  <Table label={label} columns={["Where", "Field", "Problem", "Fix"]}>
    {groupIssues(issues).map(({ where, field, what, fix }) => (
      <tr key={`${where} ${field} ${fix}`}>
        <th scope="row" class="where">{where}</th>
        <td>
          <code>{field ?? "–"}</code>
        </td>
        <td>{what}</td>
        <td>{fix}</td>
      </tr>
    ))}
  </Table>
);
