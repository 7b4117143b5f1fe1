/** The project's files. */
import { unwrap } from "../../../../client/mod.ts";
import { formatBytes, formatCount } from "../../lib/format.ts";
import { usePaginated, usePermission } from "../../lib/queries.ts";
import { href, type PageProps } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { Time } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { LoadMore, Table } from "../../ui/table.tsx";
import { FilePage, FileStatus } from "./file_page.tsx";

export const FilesPage = ({ route }: PageProps) =>
  route.path[1] === undefined ? <FileList /> : <FilePage id={route.path[1]} />;

function FileList() {
  const canEdit = usePermission("files:write");
  const files = usePaginated(
    ["files", "all"],
    async (after) =>
      unwrap(
        await getServices().api.GET("/files", {
          params: { query: { limit: 25, ...(after ? { after } : {}) } },
        }),
      ),
  );
  return (
    <Page
      title="Files"
      actions={canEdit && <a class="button primary" href={href(["new"])}>Upload a file</a>}
    >
      <QueryBoundary query={files} what="files">
        {(list) =>
          list.length === 0
            ? (
              <EmptyState title="No files yet">
                <p>
                  Training files are JSON Lines with one example per line; CSV and other common formats are
                  converted. Tunebase validates each file before you can train on it. A job's results appear
                  here too.
                </p>
                {canEdit && (
                  <a class="button primary" href={href(["new"])}>
                    Upload your first training file
                  </a>
                )}
              </EmptyState>
            )
            : (
              <>
                <Table
                  label="Files"
                  columns={[
                    "Name",
                    "Status",
                    "Rows",
                    "Size",
                    "Purpose",
                    "Uploaded",
                  ]}
                >
                  {list.map((
                    {
                      id,
                      filename,
                      status,
                      report,
                      bytes,
                      purpose,
                      created_at,
                    },
                  ) => (
                    <tr key={id}>
                      <th scope="row">
                        <a href={href(["files", id])}>{filename}</a>
                      </th>
                      <td>
                        <FileStatus status={status} />
                      </td>
                      <td class="number">
                        {report === null ? "–" : formatCount(report.rows)}
                      </td>
                      <td class="number">{formatBytes(bytes)}</td>
                      <td>
                        {purpose === "fine-tune" ? "training" : "job results"}
                      </td>
                      <td>
                        <Time at={created_at} />
                      </td>
                    </tr>
                  ))}
                </Table>
                <LoadMore query={files} />
              </>
            )}
      </QueryBoundary>
    </Page>
  );
}
