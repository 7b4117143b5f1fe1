/** Files that commands take: a path, or the id of an uploaded file. */
import { access } from "node:fs/promises";
import { type Schemas, unwrap } from "../../client/mod.ts";
import type { Session } from "../api/session.ts";
import type { CommonOptions } from "../command.ts";
import { CliError, exitCodes } from "../errors.ts";
import { uploadFile } from "./upload.ts";

/** Whether the text is the id of an uploaded file; otherwise it is a path. */
export const isFileId = (text: string) => /^file-[0-9a-f]{32}$/.test(text);

/** Throws if there is no such local file. */
export async function requireLocalFile(path: string): Promise<void> {
  try {
    await access(path);
  } catch (cause) {
    throw new CliError(
      `${path} is neither a local file nor a file ID. Run \`tunebase files list\` to see the uploaded files.`,
      exitCodes.failed,
      { cause },
    );
  }
}

/** The uploaded file with this ID, or the upload of a local file. */
export async function resolveFile(
  session: Session,
  named: string,
  options: CommonOptions,
): Promise<Schemas["File"]> {
  return isFileId(named)
    ? unwrap(await session.api.GET("/files/{id}", { params: { path: { id: named } } }))
    : await uploadFile(session, named, { quiet: options.json });
}
