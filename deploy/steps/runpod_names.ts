/** Names of what a deployment creates on RunPod, where names may repeat. */
import type { Context } from "../step.ts";

/** `tunebase-trainer`, or `tunebase-PROFILE-trainer`. */
export const resourceName = (profile: string, part: string): string =>
  profile === "default" ? `tunebase-${part}` : `tunebase-${profile}-${part}`;

/** Marks what is this installation's: an endpoint's environment variable, and the profile as a function secret. */
export const ownerVariable = "TUNEBASE_DEPLOYMENT";

/** Its value: two installations in one RunPod account differ in their profile or in their Supabase project. */
export const installation = ({ settings, state }: Context): string =>
  `${settings.profile}@${state.project ?? "?"}`;
