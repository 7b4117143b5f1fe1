/** How large a body may be: 1 MiB. A form with a file is counted by its route as it reads, which says so itself. */
import type { MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { ApiError } from "../../_shared/errors.ts";
import type { ApiEnv } from "../context.ts";

const most = 2 ** 20;

/** Refuses a larger body with 413, whether or not its length was announced. */
export const limitBody: MiddlewareHandler<ApiEnv> = bodyLimit({
  maxSize: most,
  onError: (c) => {
    throw new ApiError("too_large", [{
      param: null,
      message: `The body is larger than ${most} bytes, the most that ${c.req.method} ${c.req.path} takes.`,
    }]);
  },
});
