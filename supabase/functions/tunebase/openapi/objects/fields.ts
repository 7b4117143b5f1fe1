/** Field types that the response objects share, and the list object. */
import * as z from "zod";

/** An enum of which the generated database types know only that it is a string. A check constraint enforces the values. */
export const word = (...words: string[]) => z.string().meta({ enum: words });
export const time = z.int().describe("Unix seconds");
export const id = (prefix: string) =>
  z.string().meta({ examples: [`${prefix}0192f5c8a1b27c3d8e4f5a6b7c8d9e0f`] });
/** Allows additional properties, so that adding a field does not break clients, and drops JavaScript's integer bounds. */
export function loosen(schema: z.core.JSONSchema.BaseSchema): void {
  if (schema.additionalProperties === false) delete schema.additionalProperties;
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
}

/** A JSON column: validated when it is written, untyped when it is read. */
export const stored = (schema: z.ZodType) => {
  const { $schema: _, ...shape } = z.toJSONSchema(schema, {
    io: "output",
    override: ({ jsonSchema }) => loosen(jsonSchema),
  });
  return z.unknown().meta(shape);
};
export const count = z.int().min(0);
export const usd = z.number().describe("US dollars");

export const listOf = (item: z.ZodType) =>
  z.object({
    object: z.literal("list"),
    data: z.array(item),
    has_more: z.boolean(),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
  });
