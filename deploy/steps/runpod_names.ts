/** Names of the resources that a deployment creates on RunPod, where names need not be unique. */
import type { Context } from "../step.ts";

/** `tunebase-trainer`, or `tunebase-PROFILE-trainer`. */
export const resourceName = (profile: string, part: string): string =>
  profile === "default" ? `tunebase-${part}` : `tunebase-${profile}-${part}`;

/** Marks this installation's resources: as an environment variable of an endpoint, and as a function secret. */
export const ownerVariable = "TUNEBASE_DEPLOYMENT";

/** Its value. Two installations in one RunPod account differ in their profile or their Supabase project. */
export const installation = ({ settings, state }: Context): string =>
  `${settings.profile}@${state.project ?? "?"}`;
