-- What a job is expected to take: what is known of a base model, what was counted of a file, the estimate that a job
-- keeps, and its score once the job has succeeded.

insert into storage.buckets (id, name, public) values ('tokenizers', 'tokenizers', false) on conflict (id) do nothing;

alter table public.base_models
  -- The folder in the bucket `tokenizers` with the model's tokenizer.json, tokenizer_config.json and chat_template.jinja.
  -- Another tokenizer goes to another folder: what was counted is remembered by this name. null: tokens are estimated.
  add column tokenizer text check (tokenizer ~ '^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$'),
  -- By what its memory on a GPU is reckoned; null: not known. As in config.json, and all parameters there are.
  add column parameters bigint check (parameters > 0),
  add column hidden_size integer check (hidden_size > 0),
  add column layers integer check (layers > 0),
  add column vocab_size integer check (vocab_size > 0);

-- What a sample of a file's rows came to, by a tokenizer (or 'characters'): one row counts for every later estimate.
create table tunebase.token_counts (
  file_id uuid not null references public.files on delete cascade,
  counter text not null,
  sample jsonb not null,
  created_at timestamptz not null default now(),
  primary key (file_id, counter)
);
alter table tunebase.token_counts enable row level security;

alter table public.jobs
  -- The project's own fine-tune that it trains on from.
  add column parent_model text references public.adapters (name),
  -- As POST /fine_tuning/estimates answers; with a `score` once it has succeeded.
  add column estimate jsonb;

create index jobs_parent_model on public.jobs (parent_model) where parent_model is not null;

alter table public.adapters
  -- Deleted on request: the row stays for its jobs, the files go.
  add column deleted_at timestamptz;

-- What an estimate is made of, in one call: the base model, the job's files, and what was counted of them before.
-- p_model may be a fine-tune of the project's own: then `model` is its base and `parent` {name, hyperparameters} it. Refuses
-- as creating the job would. Returns {model, parent, training: {id, bytes, object, report, sample}, validation}.
create function tunebase.estimate_inputs(
  p_caller jsonb, p_model text, p_training_file uuid, p_validation_file uuid
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:write');
  v_parent public.adapters;
  v_model jsonb;
begin
  select * into v_parent from public.adapters
  where name = p_model and project_id = v_project_id and deleted_at is null;
  v_model := tunebase.get_model(p_caller, coalesce(v_parent.base_model, p_model), 'jobs:write');
  perform tunebase.training_file(v_project_id, p_training_file, 'training_file');
  if p_validation_file is not null then
    perform tunebase.training_file(v_project_id, p_validation_file, 'validation_file');
  end if;
  return jsonb_build_object(
    'model', v_model,
    'parent', case when v_parent.id is not null then jsonb_build_object(
      'name', v_parent.name, 'hyperparameters', v_parent.manifest -> 'hyperparameters'
    ) end,
    'training', tunebase.counted_file(p_training_file, v_model ->> 'tokenizer'),
    'validation', tunebase.counted_file(p_validation_file, v_model ->> 'tokenizer')
  );
end $$;

create function tunebase.counted_file(p_file_id uuid, p_tokenizer text) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'id', f.id, 'bytes', f.bytes, 'object', f.object, 'report', f.report,
    'sample', (
      select sample from tunebase.token_counts where file_id = f.id and counter = coalesce(p_tokenizer, 'characters')
    )
  )
  from public.files f where f.id = p_file_id
$$;

-- Remembers what a sample came to. The first to count is as good as the second.
create function tunebase.record_count(p_file_id uuid, p_counter text, p_sample jsonb) returns void
language sql security definer set search_path = ''
as $$
  insert into tunebase.token_counts (file_id, counter, sample) values (p_file_id, p_counter, p_sample)
  on conflict do nothing
$$;

-- How one figure of an estimate came out; null where nothing was estimated.
create function tunebase.score_of(p_range jsonb, p_actual numeric) returns jsonb
language sql immutable set search_path = ''
as $$
  select case when jsonb_typeof(p_range) = 'object' then jsonb_build_object(
    'expected', p_range -> 'expected', 'actual', p_actual,
    'ratio', round(p_actual / nullif((p_range ->> 'expected')::numeric, 0), 4),
    'within_range', p_actual between (p_range ->> 'low')::numeric and (p_range ->> 'high')::numeric
  ) end
$$;

-- An estimate is scored in the transaction in which its job succeeds: its attempts have ended and their cost is settled.
create function tunebase.score_estimate() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_seconds numeric;
begin
  select round(coalesce(sum(extract(epoch from ended_at - started_at)), 0), 1) into v_seconds
  from public.attempts where job_id = new.id;
  new.estimate := new.estimate || jsonb_build_object('score', jsonb_build_object(
    'tokens', tunebase.score_of(new.estimate #> '{tokens,total}', new.trained_tokens),
    'seconds', tunebase.score_of(new.estimate #> '{time,seconds}', v_seconds),
    'cost_usd', tunebase.score_of(new.estimate #> '{cost,usd}', new.cost_usd)
  ));
  return new;
end $$;

create trigger score_estimate before update of status on public.jobs
for each row when (new.status = 'succeeded' and old.status <> 'succeeded' and new.estimate is not null)
execute function tunebase.score_estimate();

revoke execute on all functions in schema tunebase from public;
grant execute on function
  tunebase.estimate_inputs(jsonb, text, uuid, uuid),
  tunebase.record_count(uuid, text, jsonb)
to tunebase_api;
