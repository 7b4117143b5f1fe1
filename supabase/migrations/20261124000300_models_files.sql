-- The base models that the operator offers, and the files that clients upload.

create table public.base_models (
  -- What clients write in `model`.
  id text primary key check (id ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$'),
  -- Where the trainer finds it: a hub id, `package:<PyPI name>`, or a directory of the worker.
  source text not null check (source <> ''),
  revision text,
  owned_by text not null,
  -- null: the endpoint of the environment (RUNPOD_ENDPOINT_ID).
  endpoint_id text,
  -- {gpu_type, num_gpus, gpu_memory_gb, cost_per_gpu_hour}: the trainer's contract.
  gpu_config jsonb not null check (
    gpu_config ?& array['gpu_type', 'num_gpus', 'gpu_memory_gb', 'cost_per_gpu_hour']
    and jsonb_typeof(gpu_config -> 'gpu_type') = 'string' and jsonb_typeof(gpu_config -> 'num_gpus') = 'number'
    and jsonb_typeof(gpu_config -> 'gpu_memory_gb') = 'number' and jsonb_typeof(gpu_config -> 'cost_per_gpu_hour') = 'number'
  ),
  -- The trainer's hyperparameters where the client leaves them out or says "auto".
  defaults jsonb not null default '{}' check (jsonb_typeof(defaults) = 'object'),
  max_length integer not null check (max_length between 64 and 131072),
  -- RunPod's policy: how long a run may take, and how long it may wait for a worker.
  execution_timeout_seconds integer not null default 86400 check (execution_timeout_seconds between 5 and 604800),
  queue_timeout_seconds integer not null default 3600 check (queue_timeout_seconds between 10 and 86400),
  -- About how fast it trains on that GPU: what a job may cost is reserved by it. null: not known, nothing is reserved.
  tokens_per_second real check (tokens_per_second > 0),
  offered boolean not null default true,
  created_at timestamptz not null default now(),
  -- RunPod keeps a job seven days at the most.
  check (execution_timeout_seconds + queue_timeout_seconds <= 604800)
);

-- What a RunPod endpoint may be asked for, shared by every dispatcher. A row is made when an endpoint is first used.
create table tunebase.endpoints (
  endpoint_id text primary key,
  -- Attempts that may be alive there at once; null: as many as RunPod takes.
  max_running integer check (max_running >= 0),
  -- /run calls a second; RunPod takes 1,000 in ten seconds. A token bucket of one second's calls.
  run_per_second real not null default 100 check (run_per_second > 0),
  calls_left real not null default 1,
  counted_at timestamptz not null default now(),
  -- After a 429 nobody calls before then.
  blocked_until timestamptz
);

create table public.files (
  id uuid primary key,
  project_id uuid not null references public.projects on delete cascade,
  filename text not null check (char_length(filename) between 1 and 255),
  purpose text not null check (purpose in ('fine-tune', 'fine-tune-results')),
  bytes bigint not null check (bytes > 0),
  -- null until the whole file was read.
  sha256 text check (sha256 ~ '^[0-9a-f]{64}$'),
  -- uploaded: it waits for its check, or is being checked. The other two are final.
  status text not null check (status in ('uploaded', 'processed', 'error')),
  status_details text,
  -- What the row-by-row check found; the shape is `DatasetReport` in _shared/dataset/report.ts.
  report jsonb not null default '{}',
  object text not null unique,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  -- The row stays, for the jobs that were trained on it; the bytes go.
  deleted_at timestamptz,
  check (status <> 'processed' or sha256 is not null)
);
create index files_project on public.files (project_id, id desc) where deleted_at is null;

insert into storage.buckets (id, name, public) values ('datasets', 'datasets', false), ('adapters', 'adapters', false)
on conflict (id) do nothing;

create function tunebase.list_models(p_caller jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase.authorize(p_caller, 'models:read');
  return coalesce((select jsonb_agg(to_jsonb(m) order by m.id) from public.base_models m where m.offered), '[]');
end $$;

create function tunebase.get_model(p_caller jsonb, p_id text, p_scope text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_model public.base_models;
begin
  perform tunebase.authorize(p_caller, p_scope);
  select * into v_model from public.base_models where id = p_id and offered;
  if not found then
    perform tunebase.refuse('model_not_found', jsonb_build_object(
      'model', p_id,
      'offered', coalesce((select jsonb_agg(id order by id) from public.base_models where offered), '[]')
    ));
  end if;
  return to_jsonb(v_model);
end $$;

-- Before the bytes of a file are stored. Should whoever stores them die before they are recorded, they are removed: an
-- hour is longer than any request lives. Returns the object to store them as.
create function tunebase.begin_file(p_caller jsonb, p_id uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_object text := tunebase.authorize(p_caller, 'files:write') || '/' || p_id || '.jsonl';
begin
  insert into tunebase.garbage (bucket, object, next_at) values ('datasets', v_object, now() + interval '1 hour');
  return v_object;
end $$;

create function tunebase.get_file(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'files:read');
  v_file public.files;
begin
  select * into v_file from public.files where id = p_id and project_id = v_project_id and deleted_at is null;
  if not found then
    perform tunebase.refuse('file_not_found');
  end if;
  return to_jsonb(v_file);
end $$;

-- Newest first by default; the cursor is the last file's id, as ids sort by time. What is wrong with each row is left
-- out: a page may hold 10,000 files.
create function tunebase.list_files(p_caller jsonb, p_purpose text, p_after uuid, p_ascending boolean, p_limit integer)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'files:read');
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from public.files where id = p_after and project_id = v_project_id) then
    perform tunebase.refuse('cursor_not_found');
  end if;
  -- Two statements and not one with a case in `order by`: each walks the index and stops at the limit.
  if p_ascending then
    select jsonb_agg(to_jsonb(f) #- '{report,errors}' order by f.id) into v_rows from (
      select * from public.files
      where project_id = v_project_id and deleted_at is null
        and (p_after is null or id > p_after) and (p_purpose is null or purpose = p_purpose)
      order by id limit p_limit + 1
    ) f;
  else
    select jsonb_agg(to_jsonb(f) #- '{report,errors}' order by f.id desc) into v_rows from (
      select * from public.files
      where project_id = v_project_id and deleted_at is null
        and (p_after is null or id < p_after) and (p_purpose is null or purpose = p_purpose)
      order by id desc limit p_limit + 1
    ) f;
  end if;
  return tunebase.page(v_rows, p_limit);
end $$;

-- One row more than asked for says whether there is more.
create function tunebase.page(p_rows jsonb, p_limit integer) returns jsonb
language sql immutable set search_path = ''
as $$
  select jsonb_build_object(
    'data', case when jsonb_array_length(coalesce(p_rows, '[]')) > p_limit then p_rows - p_limit else coalesce(p_rows, '[]') end,
    'has_more', jsonb_array_length(coalesce(p_rows, '[]')) > p_limit
  )
$$;
