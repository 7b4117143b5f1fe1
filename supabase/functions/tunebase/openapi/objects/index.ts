/**
 * Schemas of the API's response objects. The serializers use their types and the OpenAPI document is generated from them.
 * Functions import only the types.
 */
export * from "./adapters.ts";
export * from "./evaluations.ts";
export * from "./files.ts";
export * from "./inference.ts";
export * from "./jobs.ts";
export * from "./models.ts";
export * from "./notifications.ts";
export * from "./projects.ts";
export * from "./system.ts";
export * from "./webhooks.ts";
