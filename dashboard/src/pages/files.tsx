/** The project's files, and one of them with what its check found. */
import type { ComponentChildren } from "preact";
import { useQueryClient } from "@tanstack/preact-query";
import { unwrap } from "../../../client/mod.ts";
import type { PageProps } from "../app.tsx";
import { type File, type Report, useChange, useFile, useMay, usePages } from "../data.ts";
import { bytes, count, words } from "../format.ts";
import { go, href } from "../router.ts";
import { headers, use } from "../services.ts";
import { Action } from "../ui/actions.tsx";
import { Copy, Empty, Facts, Loaded, More, Page, Status, Table, Time } from "../ui/basics.tsx";
import { Conversion } from "../ui/conversion.tsx";
import { Findings } from "../ui/findings.tsx";

export const FilesPage = ({ route }: PageProps) =>
  route.path[1] === undefined ? <List /> : <One id={route.path[1]} />;

function List() {
  const may = useMay("files:write");
  const files = usePages(
    ["files", "all"],
    async (after) =>
      unwrap(
        await use().api.GET("/files", { params: { query: { limit: 25, ...(after ? { after } : {}) } } }),
      ),
  );
  return (
    <Page
      title="Files"
      actions={may && <a class="button primary" href={href(["new"])}>Upload and fine-tune</a>}
    >
      <Loaded of={files}>
        {(list) =>
          list.length === 0
            ? (
              <Empty>
                <p>No file was uploaded yet.</p>
                {may && <a class="button primary" href={href(["new"])}>Upload the first</a>}
              </Empty>
            )
            : (
              <>
                <Table label="Files" head={["Name", "State", "Rows", "Size", "For", "Uploaded"]}>
                  {list.map(({ id, filename, status, report, bytes: size, purpose, created_at }) => (
                    <tr key={id}>
                      <th scope="row">
                        <a href={href(["files", id])}>{filename}</a>
                      </th>
                      <td>
                        <Status of={status} />
                      </td>
                      <td class="number">{report === null ? "–" : count(report.rows)}</td>
                      <td class="number">{bytes(size)}</td>
                      <td>{purpose === "fine-tune" ? "training" : "a job's results"}</td>
                      <td>
                        <Time at={created_at} />
                      </td>
                    </tr>
                  ))}
                </Table>
                <More of={files} />
              </>
            )}
      </Loaded>
    </Page>
  );
}

function One({ id }: { id: string }) {
  const file = useFile(id);
  return (
    <Page title={file.data?.filename ?? "File"} actions={file.data && <FileActions file={file.data} />}>
      <p class="quiet small">
        <code>{id}</code> <Copy text={id} label="Copy id" />
      </p>
      <Loaded of={file}>
        {(file) => (
          <>
            <section aria-label="Facts">
              <Facts
                of={[
                  ["State", <Status key="s" of={file.status} />],
                  ["Size", bytes(file.bytes)],
                  ["Uploaded", <Time key="t" at={file.created_at} />],
                  ...(file.expires_at === null
                    ? []
                    : [["Is deleted", <Time key="e" at={file.expires_at} />] as [string, ComponentChildren]]),
                ]}
              />
              {file.sha256 && (
                <p class="quiet small">
                  sha256 <code>{file.sha256}</code>
                </p>
              )}
              {file.status_details && <p class="problem">{file.status_details}</p>}
            </section>
            <Conversion of={file} />
            {file.report && <Found report={file.report} />}
          </>
        )}
      </Loaded>
    </Page>
  );
}

function FileActions({ file }: { file: File }) {
  const may = useMay("files:write");
  const cache = useQueryClient();
  const remove = useChange(async () => {
    unwrap(await use().api.DELETE("/files/{id}", { params: { path: { id: file.id } } }));
    cache.removeQueries({ queryKey: ["file", file.id] });
    go(["files"]);
  }, [["files"]]);
  const save = useChange(async () => {
    const answer = await fetch(`${use().config.apiUrl}/files/${file.id}/content`, {
      headers: await headers(),
    });
    if (!answer.ok) throw new Error(`The file was answered with ${answer.status}.`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = file.filename;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
  return (
    <>
      {file.status === "processed" && file.purpose === "fine-tune" && (
        <a class="button primary" href={href(["new"], { training_file: file.id })}>Train on it</a>
      )}
      <Action of={save} label="Download" />
      {may && (
        <Action
          of={remove}
          label="Delete"
          danger
          ask={`Delete ${file.filename}? It cannot be brought back.`}
        />
      )}
    </>
  );
}

function Found({ report }: { report: Report }) {
  const { rows, trainable_rows, assistant_messages, duplicates, tokens, longest_row, errors = [], warnings } =
    report;
  const most = Math.max(1, ...tokens.histogram.map(({ rows }) => rows));
  return (
    <>
      <section aria-labelledby="found">
        <h2 id="found">What is in it</h2>
        <Facts
          of={[
            ["Format", report.format === null ? "not known" : words(report.format)],
            ["Rows", count(rows)],
            ["Rows to learn from", count(trainable_rows)],
            ["Answers", count(assistant_messages)],
            ["Tokens", `${count(tokens.total)} (${tokens.method})`],
            ["Copies of other rows", `${duplicates.exact ? "" : "about "}${count(duplicates.rows)}`],
            [
              "Longest row",
              longest_row === null ? "–" : `${count(longest_row.tokens)} tokens, line ${longest_row.line}`,
            ],
          ]}
        />
        {tokens.histogram.length > 0 && (
          <>
            <h3>Rows by their tokens</h3>
            <dl class="bars">
              {tokens.histogram.map(({ up_to, rows }) => (
                <div key={up_to}>
                  <dt>{up_to === null ? "more" : `to ${count(up_to)}`}</dt>
                  <dd style={{ margin: 0 }}>
                    <meter min={0} max={most} value={rows} aria-label={`rows of ${up_to ?? "more"} tokens`} />
                  </dd>
                  <dd class="number" style={{ margin: 0 }}>{count(rows)}</dd>
                </div>
              ))}
            </dl>
          </>
        )}
      </section>
      {errors.length > 0 && (
        <section aria-labelledby="errors">
          <h2 id="errors">Errors</h2>
          <Findings label="Errors" of={errors} />
        </section>
      )}
      {warnings.length > 0 && (
        <section aria-labelledby="warnings">
          <h2 id="warnings">Warnings</h2>
          <Findings label="Warnings" of={warnings} />
        </section>
      )}
    </>
  );
}
