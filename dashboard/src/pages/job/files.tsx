/** Files to download, each with its hash. */
import type { Schemas } from "../../../../client/mod.ts";
import { bytes } from "../../format.ts";
import { Copy } from "../../ui/basics.tsx";

export const Files = ({ files }: { files: Schemas["DownloadFile"][] }) => (
  <ul class="plain">
    {files.map(({ path, url, sha256, bytes: size }) => (
      <li key={path}>
        <a href={url} download={path.replaceAll("/", "-")}>{path}</a>{" "}
        <span class="quiet small">{bytes(size)}</span>
        <div class="quiet small">
          sha256 <code>{sha256}</code> <Copy text={sha256} label="Copy hash" />
        </div>
      </li>
    ))}
  </ul>
);
