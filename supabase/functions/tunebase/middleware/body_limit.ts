/** Limits request bodies to 1 MiB. Routes that accept files limit their forms themselves. */
import type { MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { ApiError } from "../../_shared/errors.ts";
import type { ApiEnv } from "../context.ts";

const maxSize = 2 ** 20;

/** Rejects larger bodies with 413, with or without a content-length header. */
export const limitBody: MiddlewareHandler<ApiEnv> = bodyLimit({
  maxSize,
  onError: (c) => {
    throw new ApiError("too_large", [{
      param: null,
      message: `The body is larger than ${maxSize} bytes, the maximum for ${c.req.method} ${c.req.path}.`,
    }]);
  },
});
