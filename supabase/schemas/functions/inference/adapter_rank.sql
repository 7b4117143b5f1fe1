-- The rank of an adapter's matrices. PiSSA's have twice the rank: see trainer/tunebase_trainer/model/lora_variants.py.
create function tunebase_internal.adapter_rank(p_training jsonb) returns integer
language sql immutable set search_path = ''
as $$
  select (case when p_training ->> 'lora_variant' = 'pissa' then 2 else 1 end) * (p_training ->> 'lora_rank')::integer
$$;
