/** Removal after an interrupted deployment. */
import { assertEquals } from "#assert";
import { supabaseData } from "../../deploy/steps/supabase_data.ts";
import { deployContext } from "./deploy_context.ts";

Deno.test("buckets that were never created do not stop a removal", async () => {
  const emptied: string[] = [];
  let uninstalled = false;
  await using context = deployContext({
    runpodRest: "",
    async supabase(request) {
      const { pathname } = new URL(request.url);
      const [, bucket] = /\/bucket\/([^/]+)\/empty$/.exec(pathname) ?? [];
      if (bucket !== undefined) {
        emptied.push(bucket);
        const body = { statusCode: "404", error: "Bucket not found", message: "Bucket not found" };
        return Response.json(body, { status: 400 });
      }
      if (pathname.endsWith("/api-keys")) {
        return Response.json([{ name: "default", type: "secret", api_key: "sb_secret_x" }]);
      }
      uninstalled ||= (await request.text()).includes("drop schema");
      return Response.json([]);
    },
  });
  await supabaseData.remove?.(context, { data: true });
  assertEquals(emptied.length, 3);
  assertEquals(uninstalled, true);
});
