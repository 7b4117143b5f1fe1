/** The Storage buckets. SQL names them too: `supabase/migrations/*_platform.sql` creates them. */
export const buckets = {
  datasets: "tunebase-datasets",
  adapters: "tunebase-adapters",
  tokenizers: "tunebase-tokenizers",
} as const;
