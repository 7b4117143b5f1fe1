/** Evaluations: the list, a new one, or one with its rows. */
import type { PageProps } from "../../lib/router.ts";
import { EvaluationList } from "./evaluation_list.tsx";
import { EvaluationPage } from "./evaluation_page.tsx";
import { NewEvaluationPage } from "./new_evaluation_page.tsx";

export function EvaluationsPage({ route }: PageProps) {
  const id = route.path[1];
  if (id === undefined) return <EvaluationList route={route} />;
  return id === "new" ? <NewEvaluationPage route={route} /> : <EvaluationPage id={id} />;
}
