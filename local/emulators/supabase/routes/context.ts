/** The context that the routes share. */
import type { Context } from "hono";
import * as z from "zod";
import type { Account } from "../account.ts";
import { ApiError, checked } from "../errors.ts";
import type { Project } from "../project.ts";

export interface Platform {
  account: Account;
  projects: Map<string, Project>;
  /** Creates a project and starts it in the background. */
  create(wanted: { name: string; region: string; databasePassword: string }): Promise<Project>;
  /** Removes a project in the background. */
  remove(project: Project): void;
}

/** The project in the path. Throws 400 for an invalid ref, or 404. */
export function projectOf(platform: Platform, c: Context): Project {
  const ref = c.req.param("ref") ?? "";
  if (!/^[a-z]{20}$/.test(ref)) throw new ApiError(400, "ref: must be 20 lower-case letters");
  const project = platform.projects.get(ref);
  if (project === undefined) throw new ApiError(404, "Project not found");
  return project;
}

/** The validated JSON body. */
export async function bodyOf<T>(c: Context, schema: z.ZodType<T>): Promise<T> {
  const value: unknown = await c.req.json().catch(() => {
    throw new ApiError(400, "The body is not valid JSON");
  });
  return checked(schema, value);
}
