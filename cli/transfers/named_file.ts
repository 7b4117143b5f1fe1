/** Files that commands take: a path, `-` for stdin, or the ID of an uploaded file. */
import { stat } from "node:fs/promises";
import { type Schemas, unwrap } from "../../client/mod.ts";
import type { Session } from "../api/session.ts";
import type { CommonOptions } from "../command.ts";
import { CliError, exitCodes } from "../errors.ts";
import { isStdin, withReadableFile } from "./stdin_file.ts";
import { uploadFile } from "./upload.ts";

/** Whether the text is the id of an uploaded file; otherwise it is a path. */
export const isFileId = (text: string) => /^file-[0-9a-f]{32}$/.test(text);

/**
 * Checks all of a command's files before the first upload: local files exist, at most one is stdin, and the uploaded files
 * are on the server.
 */
export async function requireFiles(
  { api }: Session,
  names: string[],
  { ids = true }: { ids?: boolean } = {},
): Promise<void> {
  if (names.filter(isStdin).length > 1) {
    throw new CliError("Only one file can be read from stdin (-).", exitCodes.usage);
  }
  const isUploaded = (name: string) => ids && isFileId(name);
  await Promise.all(names.filter((name) => !isUploaded(name)).map((path) => requireLocalFile(path, ids)));
  for (const id of names.filter(isUploaded)) {
    unwrap(await api.GET("/files/{id}", { params: { path: { id } } }));
  }
}

/** Throws if there is no such local file. `ids`: the user may have meant the ID of a file. */
export async function requireLocalFile(path: string, ids: boolean): Promise<void> {
  if (isStdin(path)) return;
  try {
    if (!(await stat(path)).isDirectory()) return;
  } catch (cause) {
    if (!ids) throw cause;
    throw new CliError(
      `${path} is neither a local file nor a file ID. Run \`tunebase files list\` to see the uploaded files.`,
      exitCodes.failed,
      { cause },
    );
  }
  throw new CliError(`${path} is a directory, not a file.`, exitCodes.usage);
}

/** The uploaded file with this ID, or the upload of a local file. */
export async function resolveFile(
  session: Session,
  named: string,
  options: CommonOptions,
): Promise<Schemas["File"]> {
  return isFileId(named)
    ? unwrap(await session.api.GET("/files/{id}", { params: { path: { id: named } } }))
    : await withReadableFile(named, (path) => uploadFile(session, path, { quiet: options.json }));
}
