/** A link to the playground, with a model. */
import { usePermission } from "../../lib/queries.ts";
import { href } from "../../lib/router.ts";

export function TryIt({ model, what, primary = false }: {
  /** null: there is no model to try. */
  model: string | null;
  /** For screen readers, where a list has several links. */
  what?: string;
  /** Styled as the page's primary button. */
  primary?: boolean;
}) {
  const canAsk = usePermission("inference");
  if (model === null || !canAsk) return null;
  return (
    <a class={primary ? "button primary" : ""} href={href(["playground"], { model })}>
      Try it {what !== undefined && <span class="unseen">({what})</span>}
    </a>
  );
}
