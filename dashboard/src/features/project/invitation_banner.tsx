/** Shows the user's pending invitations. */
import { useMe } from "../../lib/queries.ts";
import { navigate } from "../../lib/router.ts";

export function InvitationBanner() {
  const { data } = useMe();
  const [first, ...others] = data?.invitations ?? [];
  if (first === undefined) return null;
  return (
    <p class="strip" role="status">
      You're invited to{" "}
      {others.length === 0 ? first.project_name ?? "a project" : `${others.length + 1} projects`}.{" "}
      <button type="button" class="small" onClick={() => navigate(["project"])}>
        {others.length === 0 ? "View invitation" : "View invitations"}
      </button>
    </p>
  );
}
