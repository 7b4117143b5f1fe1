/** The `integrations` of a job: services that receive its metrics or adapter, if the operator allows them. */
import * as z from "zod";
import { isHubNamespaceAllowed } from "../../_shared/contracts/hub_repository.ts";
import { ApiError } from "../../_shared/errors.ts";
import type { Settings } from "../../_shared/platform.ts";
import { HuggingFace, type TrainingHyperparameters, Wandb } from "../../_shared/protocol.ts";
import { strictObject } from "../../_shared/validation.ts";

const Integration = z.discriminatedUnion("type", [
  strictObject({ type: z.literal("wandb"), wandb: Wandb }),
  strictObject({ type: z.literal("huggingface"), huggingface: HuggingFace }),
], { error: ({ code }) => code === "invalid_union" ? 'must be "wandb" or "huggingface"' : undefined });

export const Integrations = z.array(Integration).refine(
  (integrations) => new Set(integrations.map(({ type }) => type)).size === integrations.length,
  "must have at most one item of each type",
);
export type Integrations = z.infer<typeof Integrations>;

/** The integrations as the plan has them. Throws an ApiError for one that the operator does not allow. */
export function readIntegrations(
  integrations: Integrations,
  settings: Pick<Settings, "wandb" | "hubNamespaces">,
): Pick<TrainingHyperparameters, "wandb" | "huggingface"> {
  const plan: Pick<TrainingHyperparameters, "wandb" | "huggingface"> = { wandb: null, huggingface: null };
  for (const [index, integration] of integrations.entries()) {
    if (integration.type === "wandb") {
      requireWandb(settings.wandb);
      plan.wandb = integration.wandb;
    } else {
      requireNamespace(
        settings.hubNamespaces,
        integration.huggingface.repo,
        `integrations.${index}.huggingface.repo`,
      );
      plan.huggingface = integration.huggingface;
    }
  }
  return plan;
}

function requireWandb(isEnabled: boolean): void {
  if (isEnabled) return;
  throw new ApiError("unsupported", [{
    param: "integrations",
    message:
      "integrations: Weights & Biases is not enabled on this server. Remove it, or ask the operator to set " +
      "TUNEBASE_WANDB. Metrics are also available from GET …/metrics and as a CSV in result_files.",
  }]);
}

function requireNamespace(namespaces: string[], repo: string, param: string): void {
  if (namespaces.length === 0) {
    throw new ApiError("unsupported", [{
      param: "integrations",
      message:
        "integrations: pushing to the Hugging Face Hub is not enabled on this server. Remove it, or ask the operator to " +
        "set TUNEBASE_HUB_NAMESPACES. `tunebase adapter push` pushes a finished job's adapter with your own token.",
    }]);
  }
  if (isHubNamespaceAllowed(namespaces, repo)) return;
  throw new ApiError("invalid_request", [{
    param,
    message: `${param} = ${JSON.stringify(repo)}: jobs on this server can push only to these namespaces: ${
      namespaces.join(", ")
    }. Use one of them.`,
    value: repo,
  }]);
}
