-- What the API keeps of requests: how many a caller may send, and the answers to those with an Idempotency-Key.

-- One token bucket a key or user. Unlogged: a write a request needs no disk, and a crash that fills every bucket again
-- harms nobody.
create unlogged table tunebase.rate_buckets (
  subject uuid primary key,
  tokens double precision not null,
  counted_at timestamptz not null
);
alter table tunebase.rate_buckets enable row level security;

-- Takes up to p_want requests out of a caller's bucket, which holds a minute's worth and fills as time goes. The API asks
-- for several at once and spends them one by one. Returns {granted, left, limit, project_id}; refuses who is not known.
create function tunebase.admit(p_caller jsonb, p_want integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_who record;
  v_limit double precision;
  v_granted double precision;
  v_left double precision;
begin
  v_who := tunebase.identify(p_caller);
  select requests_per_minute into v_limit from public.projects where id = v_who.project_id;
  v_limit := coalesce(v_limit, 600);
  insert into tunebase.rate_buckets as b (subject, tokens, counted_at)
  values (coalesce((v_who.api_key).id, (p_caller ->> 'user_id')::uuid), v_limit, now())
  on conflict (subject) do update
  -- The clock and not now(): a transaction that waited for the row began before the other's.
  set tokens = least(
      v_limit, b.tokens + greatest(0, extract(epoch from clock_timestamp() - b.counted_at)) * v_limit / 60
    ), counted_at = greatest(b.counted_at, clock_timestamp())
  returning tokens into v_left;
  v_granted := least(p_want, floor(v_left));
  if v_granted > 0 then
    update tunebase.rate_buckets set tokens = tokens - v_granted
    where subject = coalesce((v_who.api_key).id, (p_caller ->> 'user_id')::uuid);
  end if;
  return jsonb_build_object(
    'granted', v_granted, 'left', v_left - v_granted, 'limit', v_limit, 'project_id', v_who.project_id
  );
end $$;

-- A POST with an Idempotency-Key: reserved while it runs, then with its answer. The key is kept as a hash and the answer
-- encrypted under the key itself: an answer can hold a secret that is shown once.
create table tunebase.requests (
  id uuid primary key default tunebase.uuid7(),
  -- Whose: the hash of an API key, or a user's id.
  subject text not null,
  key_hash text not null check (key_hash ~ '^[0-9a-f]{64}$'),
  -- null while it runs, where the body is hashed as it streams by.
  request_hash text check (request_hash ~ '^[0-9a-f]{64}$'),
  -- Whoever runs it has died, if it has no answer by then.
  locked_until timestamptz not null,
  answer text,
  created_at timestamptz not null default now(),
  unique (subject, key_hash)
);
create index requests_created on tunebase.requests (created_at);
alter table tunebase.requests enable row level security;

-- Reserves a key. Returns {state: 'new', id}, {state: 'done', request_hash, answer}, or {state: 'running'}; refuses another
-- body with idempotency_key_reused. A reservation whose holder has died, and an answer of a day ago, are given anew.
create function tunebase.begin_request(
  p_caller jsonb, p_key_hash text, p_request_hash text, p_lease_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_subject text := coalesce(p_caller ->> 'key_hash', p_caller ->> 'user_id');
  v_request tunebase.requests;
  v_until timestamptz := now() + make_interval(secs => p_lease_seconds);
begin
  insert into tunebase.requests (subject, key_hash, request_hash, locked_until)
  values (v_subject, p_key_hash, p_request_hash, v_until)
  on conflict (subject, key_hash) do nothing
  returning * into v_request;
  if found then
    return jsonb_build_object('state', 'new', 'id', v_request.id);
  end if;

  select * into v_request from tunebase.requests
  where subject = v_subject and key_hash = p_key_hash
  for update;
  if not found then
    -- It was refused just now and its key is free: the client sends it again.
    return jsonb_build_object('state', 'running');
  end if;
  if v_request.created_at > now() - interval '1 day' then
    if v_request.request_hash <> p_request_hash then
      perform tunebase.refuse('idempotency_key_reused');
    elsif v_request.answer is not null then
      return jsonb_build_object(
        'state', 'done', 'request_hash', v_request.request_hash, 'answer', v_request.answer
      );
    elsif v_request.locked_until > now() then
      return jsonb_build_object('state', 'running');
    end if;
  end if;
  delete from tunebase.requests where id = v_request.id;
  -- A new id: whoever held the old one and lives after all finishes nothing.
  insert into tunebase.requests (subject, key_hash, request_hash, locked_until)
  values (v_subject, p_key_hash, p_request_hash, v_until)
  returning * into v_request;
  return jsonb_build_object('state', 'new', 'id', v_request.id);
end $$;

-- Keeps the answer; without one, the key is free again.
create function tunebase.end_request(p_id uuid, p_request_hash text, p_answer text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_answer is null then
    delete from tunebase.requests where id = p_id;
  else
    update tunebase.requests set request_hash = p_request_hash, answer = p_answer where id = p_id;
  end if;
end $$;

-- Forgets what is older than a day, some at a time. Returns how many.
create function tunebase.forget_requests(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_requests integer;
  v_jobs integer;
begin
  delete from tunebase.requests where id in (
    select id from tunebase.requests where created_at < now() - interval '1 day'
    order by created_at limit p_limit for update skip locked
  );
  get diagnostics v_requests = row_count;
  delete from tunebase.job_requests where job_id in (
    select job_id from tunebase.job_requests where created_at < now() - interval '1 day'
    order by created_at limit p_limit for update skip locked
  );
  get diagnostics v_jobs = row_count;
  return v_requests + v_jobs;
end $$;
create index job_requests_created on tunebase.job_requests (created_at);

revoke execute on all functions in schema tunebase from public;
grant execute on function
  tunebase.admit(jsonb, integer),
  tunebase.begin_request(jsonb, text, text, integer),
  tunebase.end_request(uuid, text, text)
to tunebase_api;
grant execute on function tunebase.forget_requests(integer) to tunebase_scheduler;
