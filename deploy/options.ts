/** Options of the commands about installations, and parsers of their values. */
import { type Command, InvalidArgumentError, parseList } from "../cli/command.ts";
import type { StartEmulators } from "./installation.ts";

/** Adds the options that every command about an installation has. */
export function addInstallationOptions(command: Command, startEmulators?: StartEmulators): Command {
  command.option("--profile <name>", "the installation, if you have several", parseProfile, "default");
  if (startEmulators !== undefined) {
    command.option(
      "--target <target>",
      "hosted, or emulators: Supabase and RunPod emulated on this machine",
      parseTarget,
      "hosted",
    );
  }
  return command;
}

export function parseProfile(text: string): string {
  if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(text)) {
    throw new InvalidArgumentError("It must be up to 32 lowercase letters, digits and hyphens.");
  }
  return text;
}

export function parseRef(text: string): string {
  if (!/^[a-z]{20}$/.test(text)) {
    throw new InvalidArgumentError(
      "It must be a project's ref: the 20 lowercase letters in https://supabase.com/dashboard/project/REF.",
    );
  }
  return text;
}

export function parseRegion(text: string): string {
  if (!/^(americas|emea|apac|[a-z]{2}-[a-z]+-\d)$/.test(text)) {
    throw new InvalidArgumentError("It must be americas, emea, apac, or a region such as eu-west-1.");
  }
  return text;
}

/** Parses a list without empty items. */
export function parseItems(text: string): string[] {
  const items = parseList(text).filter((item) => item !== "");
  if (items.length === 0) throw new InvalidArgumentError("It must have at least one item.");
  return items;
}

export function parseImage(text: string): string {
  if (!/^[a-z0-9][a-z0-9._:/-]*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$/.test(text)) {
    throw new InvalidArgumentError(
      "It must be an image such as ghcr.io/YOU/tunebase-trainer@sha256: and 64 hexadecimal digits.",
    );
  }
  return text;
}

export function parseTarget(text: string): "hosted" | "emulators" {
  if (text !== "hosted" && text !== "emulators") {
    throw new InvalidArgumentError("It must be hosted or emulators.");
  }
  return text;
}

export function parseUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:/.test(text)) {
    throw new InvalidArgumentError("It must be a URL such as https://tunebase.example.com.");
  }
  return text;
}
