/** What is wrong with which rows, and what to do. */
import type { Finding } from "../data.ts";
import { Table } from "./basics.tsx";

export const Findings = ({ of, label }: { of: Finding[]; label: string }) => (
  <Table label={label} head={["Line", "Field", "What", "What to do"]}>
    {of.map(({ line, field, what, fix }, n) => (
      <tr key={n}>
        <th scope="row">{line === null ? "file" : line.toLocaleString()}</th>
        <td>
          <code>{field ?? "–"}</code>
        </td>
        <td>{what}</td>
        <td>{fix}</td>
      </tr>
    ))}
  </Table>
);
