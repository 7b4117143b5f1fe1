/** How large a body may be: 1 MiB, but for files, whose routes count as they read and say so themselves. */
import type { MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { ApiError } from "../../_shared/errors.ts";
import type { ApiEnv } from "../context.ts";

const most = 2 ** 20;
const counted = /^\/tunebase\/(files|uploads\/[^/]+\/parts)$/;

const limit = bodyLimit({
  maxSize: most,
  onError: (c) => {
    throw new ApiError("too_large", [{
      param: null,
      message: `The body is larger than ${most} bytes, the most that ${c.req.method} ${c.req.path} takes.`,
    }]);
  },
});

/** Refuses a larger body with 413, whether or not its length was announced. */
export const limitBody: MiddlewareHandler<ApiEnv> = async function limitBody(c, next) {
  if (counted.test(c.req.path)) return await next();
  return await limit(c, next);
};
