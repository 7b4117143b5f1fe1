create table tunebase.base_models (
  -- The `model` that clients send.
  id text primary key check (id ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$'),
  -- Where the trainer finds it: a hub id, `package:<PyPI name>`, or a directory of the worker.
  source text not null check (source <> ''),
  revision text,
  owned_by text not null,
  -- null: the default endpoint (RUNPOD_ENDPOINT_ID).
  endpoint_id text,
  -- {gpu_type, num_gpus, gpu_memory_gb, cost_per_gpu_hour}: the trainer's contract.
  gpu_config jsonb not null check (
    gpu_config ?& array['gpu_type', 'num_gpus', 'gpu_memory_gb', 'cost_per_gpu_hour']
    and jsonb_typeof(gpu_config -> 'gpu_type') = 'string' and jsonb_typeof(gpu_config -> 'num_gpus') = 'number'
    and jsonb_typeof(gpu_config -> 'gpu_memory_gb') = 'number' and jsonb_typeof(gpu_config -> 'cost_per_gpu_hour') = 'number'
  ),
  -- Hyperparameters that apply where the client sends none or "auto".
  defaults jsonb not null default '{}' check (jsonb_typeof(defaults) = 'object'),
  max_length integer not null check (max_length between 64 and 131072),
  -- RunPod's policy: the longest run, and the longest wait for a worker.
  execution_timeout_seconds integer not null default 86400 check (execution_timeout_seconds between 5 and 604800),
  queue_timeout_seconds integer not null default 3600 check (queue_timeout_seconds between 10 and 86400),
  -- Approximate training throughput on that GPU, for estimates and budget reservations. null: unknown, nothing is reserved.
  tokens_per_second real check (tokens_per_second > 0),
  -- The measured throughput of finished jobs (an average over about the last ten), their number, and their GPUs. Estimates
  -- prefer it as long as gpu_config names those GPUs.
  measured_tokens_per_second real check (measured_tokens_per_second > 0),
  measured_jobs integer not null default 0,
  measured_gpus text,
  -- The folder in the bucket `tunebase-tokenizers` with the model's tokenizer.json, tokenizer_config.json and chat_template.jinja.
  -- Use a new folder for each tokenizer: token counts are stored under this name. null: tokens are estimated.
  tokenizer text check (tokenizer ~ '^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$'),
  -- For the GPU memory estimate, from config.json; `parameters` is the total. null: unknown.
  parameters bigint check (parameters > 0),
  hidden_size integer check (hidden_size > 0),
  layers integer check (layers > 0),
  vocab_size integer check (vocab_size > 0),
  -- The RunPod load-balancing endpoint that serves this model and its fine-tunes. null: not served.
  inference_endpoint_id text check (inference_endpoint_id ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$'),
  -- The highest LoRA rank that the endpoint loads (vLLM's --max-lora-rank).
  inference_max_rank integer not null default 64 check (inference_max_rank between 1 and 512),
  -- The context that the endpoint serves, in tokens (vLLM's --max-model-len). null: max_length.
  inference_max_length integer check (inference_max_length >= 64),
  -- Inference prices: per million tokens, and per hour of answering requests.
  inference_usd_per_million_input_tokens numeric(12, 6) not null default 0 check (inference_usd_per_million_input_tokens >= 0),
  inference_usd_per_million_output_tokens numeric(12, 6) not null default 0 check (inference_usd_per_million_output_tokens >= 0),
  inference_usd_per_hour numeric(12, 6) not null default 0 check (inference_usd_per_hour >= 0),
  enabled boolean not null default true,
  created_at timestamptz not null default now(),
  -- RunPod keeps a job for at most seven days.
  check (execution_timeout_seconds + queue_timeout_seconds <= 604800)
);

alter table tunebase.base_models enable row level security;
-- Any member of any project. Other users of the host app see nothing.
create policy members_read on tunebase.base_models for select to authenticated
using (enabled and exists (select from tunebase_internal.member_project_ids()));

comment on table tunebase.base_models is 'The base models that the operator has configured.';
