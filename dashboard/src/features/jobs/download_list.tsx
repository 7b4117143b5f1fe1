/** Files to download, each with its hash. */
import { formatBytes } from "../../lib/format.ts";
import type { DownloadFile } from "../../lib/types.ts";
import { CopyButton } from "../../ui/display.tsx";

export const DownloadList = ({ files }: { files: DownloadFile[] }) => (
  <ul class="plain">
    {files.map(({ path, url, sha256, bytes }) => (
      <li key={path}>
        <a href={url} download={path.replaceAll("/", "-")}>{path}</a>{" "}
        <span class="quiet small">{formatBytes(bytes)}</span>
        <div class="quiet small">
          SHA-256 <code>{sha256}</code> <CopyButton text={sha256} label="Copy hash" />
        </div>
      </li>
    ))}
  </ul>
);
