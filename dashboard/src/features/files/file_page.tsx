/** One file, with its validation report. */
import { useQueryClient } from "@tanstack/preact-query";
import type { ComponentChildren } from "preact";
import { unwrap } from "../../../../client/mod.ts";
import { formatBytes } from "../../lib/format.ts";
import { useApiMutation, usePermission } from "../../lib/queries.ts";
import { href, navigate } from "../../lib/router.ts";
import { authHeaders, getServices } from "../../lib/services.ts";
import type { ApiFile } from "../../lib/types.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { CopyButton, FieldList, Status, Time } from "../../ui/display.tsx";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { Conversion } from "./conversion.tsx";
import { fileKey, useFile } from "./file_queries.ts";
import { FirstRows } from "./first_rows.tsx";
import { CompareFiles } from "./overlap.tsx";
import { ReportView } from "./report_view.tsx";
import { RowLengths } from "./row_lengths.tsx";

const revokeUrlMs = 10_000;

export function FilePage({ id }: { id: string }) {
  const file = useFile(id);
  return (
    <Page
      title={file.data?.filename ?? "File"}
      actions={file.data && <FileActions file={file.data} />}
    >
      <p class="quiet small">
        <code>{id}</code> <CopyButton text={id} label="Copy ID" />
      </p>
      <QueryBoundary query={file} what="the file">
        {(file) => (
          <>
            <section aria-label="Details">
              <FieldList
                fields={[
                  ["Status", <FileStatus key="status" status={file.status} />],
                  ["Size", formatBytes(file.bytes)],
                  ["Uploaded", <Time key="uploaded" at={file.created_at} />],
                  ...(file.expires_at === null ? [] : [
                    [
                      "Expires",
                      <Time key="expires" at={file.expires_at} />,
                    ] as [
                      string,
                      ComponentChildren,
                    ],
                  ]),
                ]}
              />
              {file.sha256 && (
                <p class="quiet small">
                  SHA-256 <code>{file.sha256}</code>
                </p>
              )}
              {file.status_details && <p class="problem">{file.status_details}</p>}
            </section>
            <Conversion file={file} />
            {file.report && <ReportView report={file.report} />}
            {file.report && <RowLengths file={file} report={file.report} />}
            {isData(file) && <CompareFiles file={file} />}
            {isData(file) && !file.source_format?.endsWith("_parquet") && <FirstRows file={file} />}
          </>
        )}
      </QueryBoundary>
    </Page>
  );
}

/** Whether fine-tunes can use the file. */
const isData = ({ status, purpose }: ApiFile) => status === "processed" && purpose === "fine-tune";

export const FileStatus = ({ status }: { status: ApiFile["status"] }) =>
  status === "error" ? <Status value={status} label="invalid" /> : <Status value={status} />;

function FileActions({ file }: { file: ApiFile }) {
  const canEdit = usePermission("files:write");
  const cache = useQueryClient();
  const remove = useApiMutation(async () => {
    unwrap(
      await getServices().api.DELETE("/files/{id}", {
        params: { path: { id: file.id } },
      }),
    );
    cache.removeQueries({ queryKey: fileKey(file.id) });
    navigate(["files"]);
  }, [["files"]]);
  const download = useApiMutation(async () => {
    const response = await fetch(
      `${getServices().config.apiUrl}/files/${file.id}/content`,
      {
        headers: await authHeaders(),
      },
    );
    if (!response.ok) {
      throw new Error(`Could not download the file (HTTP ${response.status}).`);
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = file.filename;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), revokeUrlMs);
  });
  return (
    <>
      {isData(file) && (
        <a
          class="button primary"
          href={href(["new"], { training_file: file.id })}
        >
          Fine-tune on this file
        </a>
      )}
      <ActionButton mutation={download} label="Download" />
      {canEdit && (
        <ActionButton
          mutation={remove}
          label="Delete"
          danger
          confirmation={{
            text: `This permanently deletes ${file.filename}.`,
            confirm: "Delete file",
          }}
        />
      )}
    </>
  );
}
