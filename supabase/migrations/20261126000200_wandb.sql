-- The run of Weights & Biases that a job's worker writes, as the plan has it; null: none. For the job's object, which does
-- not show the plan.

alter table public.jobs add column wandb jsonb generated always as (nullif(plan -> 'wandb', 'null')) stored;
