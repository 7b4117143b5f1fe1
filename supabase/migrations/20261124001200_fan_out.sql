-- From what is owed to whom: deliveries for endpoints and channels, notifications for people.

create table public.webhook_deliveries (
  id uuid primary key default tunebase.uuid7(),
  project_id uuid not null references public.projects on delete cascade,
  -- `webhook-id` of every try is this event's id, so that a receiver can drop what it has seen.
  event_id uuid not null,
  event_type text not null,
  event_created_at timestamptz not null,
  job_id uuid references public.jobs on delete cascade,
  channel text not null check (channel in ('webhook', 'email', 'slack')),
  endpoint_id uuid references public.webhook_endpoints on delete cascade,
  channel_id uuid references public.notification_channels on delete cascade,
  target_id uuid generated always as (coalesce(endpoint_id, channel_id)) stored,
  -- What is sent, byte for byte; of e-mail and Slack what they are made from.
  body text not null,
  status text not null default 'pending' check (status in ('pending', 'delivered', 'dead')),
  -- Why it is dead.
  reason text,
  -- Of the schedule in `retry_delay`; a replay begins it anew.
  tries integer not null default 0,
  next_at timestamptz default now(),
  -- A scheduler has it in hand. Grows with every claim, so that a late answer is known.
  lease integer not null default 0,
  leased_until timestamptz,
  -- Of the last try.
  response_status integer,
  error text,
  duration_ms integer,
  last_tried_at timestamptz,
  delivered_at timestamptz,
  created_at timestamptz not null default now(),

  unique (event_id, endpoint_id),
  unique (event_id, channel_id),
  check (num_nonnulls(endpoint_id, channel_id) = 1),
  check ((channel = 'webhook') = (endpoint_id is not null)),
  check ((status = 'pending') = (next_at is not null)),
  check ((status = 'dead') = (reason is not null)),
  check ((status = 'delivered') = (delivered_at is not null))
);
create index webhook_deliveries_due on public.webhook_deliveries (target_id, next_at) where status = 'pending';
-- Those whose last try has begun: `claim_deliveries` ends the ones whose scheduler died with it.
create index webhook_deliveries_spent on public.webhook_deliveries (next_at) where status = 'pending' and tries >= 10;
create index webhook_deliveries_project on public.webhook_deliveries (project_id, id desc);
create index webhook_deliveries_endpoint on public.webhook_deliveries (endpoint_id, id desc);
create index webhook_deliveries_channel on public.webhook_deliveries (channel_id) where channel_id is not null;
create index webhook_deliveries_job on public.webhook_deliveries (job_id, endpoint_id, event_created_at);
create index webhook_deliveries_old on public.webhook_deliveries (created_at) where status <> 'pending';

-- The log: one row a try.
create table public.webhook_attempts (
  id uuid primary key default tunebase.uuid7(),
  delivery_id uuid not null references public.webhook_deliveries on delete cascade,
  project_id uuid not null references public.projects on delete cascade,
  url text not null,
  -- Without the signature and without keys.
  request_headers jsonb not null,
  response_status integer,
  -- The first 4 KiB.
  response_body text,
  -- Why there was no answer.
  error text,
  duration_ms integer not null,
  created_at timestamptz not null default now()
);
create index webhook_attempts_delivery on public.webhook_attempts (delivery_id, id);
create index webhook_attempts_project on public.webhook_attempts (project_id);

create table public.notifications (
  id uuid primary key default tunebase.uuid7(),
  project_id uuid not null references public.projects on delete cascade,
  event_id uuid not null unique,
  type text not null,
  level text not null check (level in ('info', 'warn', 'error')),
  title text not null,
  text text not null,
  job_id uuid references public.jobs on delete cascade,
  created_at timestamptz not null default now()
);
create index notifications_project on public.notifications (project_id, id desc);
create index notifications_job on public.notifications (job_id);

create table public.notification_reads (
  notification_id uuid not null references public.notifications on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  read_at timestamptz not null default now(),
  primary key (notification_id, user_id)
);
create index notification_reads_user on public.notification_reads (user_id);

-- An event in a person's words: {level, title, text}; null where people are not told.
create function tunebase.describe_event(p_type text, p_data jsonb) returns jsonb
language sql stable set search_path = ''
as $$
  select case p_type
    when 'fine_tuning.job.succeeded' then jsonb_build_object(
      'level', 'info', 'title', format('Fine-tuning of %s succeeded', p_data ->> 'model'),
      'text', format('Job %s is done. The new model is %s.', p_data ->> 'id', p_data ->> 'fine_tuned_model')
    )
    when 'fine_tuning.job.failed' then jsonb_build_object(
      'level', 'error', 'title', format('Fine-tuning of %s failed', p_data ->> 'model'),
      'text', concat_ws(E'\n',
        format('Job %s failed (%s): %s', p_data ->> 'id', p_data #>> '{error,code}', p_data #>> '{error,message}'),
        p_data #>> '{error,hint}'
      )
    )
    when 'fine_tuning.job.cancelled' then jsonb_build_object(
      'level', 'warn', 'title', format('Fine-tuning of %s was cancelled', p_data ->> 'model'),
      'text', format('Job %s was cancelled at %s %%.', p_data ->> 'id', round((p_data ->> 'progress')::numeric))
    )
    when 'fine_tuning.job.paused' then jsonb_build_object(
      'level', 'warn', 'title', format('Fine-tuning of %s is paused', p_data ->> 'model'),
      'text', format('Job %s is paused at %s %%. Resume it when you like.',
        p_data ->> 'id', round((p_data ->> 'progress')::numeric))
    )
    when 'fine_tuning.job.budget_warning' then jsonb_build_object(
      'level', 'warn', 'title', format('Fine-tuning of %s has used 80 %% of its budget', p_data ->> 'model'),
      'text', format('Job %s has cost %s USD of its cap of %s USD. It is stopped when it passes the cap.',
        p_data ->> 'id', round((p_data ->> 'cost_usd')::numeric, 2), round((p_data ->> 'spend_cap_usd')::numeric, 2))
    )
    when 'webhook_endpoint.disabled' then jsonb_build_object(
      'level', 'error', 'title', format('%s was disabled', p_data ->> 'name'),
      'text', format('%s gets no more events: %s. Repair it, enable it again, and replay what it missed.',
        p_data ->> 'id', p_data ->> 'reason')
    )
  end
$$;

-- One event to everybody who is owed it. A second call adds nothing.
create function tunebase.fan_out_event(p_event tunebase.outbox) returns void
language plpgsql set search_path = ''
as $$
declare
  v_said jsonb := tunebase.describe_event(p_event.type, p_event.data);
  v_id text := 'evt_' || replace(p_event.id::text, '-', '');
begin
  insert into public.webhook_deliveries (
    project_id, event_id, event_type, event_created_at, job_id, channel, endpoint_id, body
  )
  select p_event.project_id, p_event.id, p_event.type, p_event.created_at, p_event.job_id, 'webhook', e.id,
    json_build_object(
      'id', v_id, 'object', 'event', 'type', p_event.type,
      'created_at', floor(extract(epoch from p_event.created_at))::bigint, 'data', p_event.data
    )::text
  from public.webhook_endpoints e
  where e.project_id = p_event.project_id and e.enabled and p_event.type = any (e.event_types)
    -- Nobody hears of what was before them.
    and e.created_at <= p_event.created_at
    and (p_event.type <> 'fine_tuning.job.progress' or not exists (
      select from public.webhook_deliveries d
      where d.job_id = p_event.job_id and d.endpoint_id = e.id and d.event_type = p_event.type
        and d.event_created_at > p_event.created_at - make_interval(secs => e.progress_seconds)
    ))
  on conflict (event_id, endpoint_id) do nothing;

  if v_said is not null then
    insert into public.notifications (project_id, event_id, type, level, title, text, job_id, created_at)
    values (
      p_event.project_id, p_event.id, p_event.type, v_said ->> 'level', v_said ->> 'title', v_said ->> 'text',
      p_event.job_id, p_event.created_at
    )
    on conflict (event_id) do nothing;
    insert into public.webhook_deliveries (
      project_id, event_id, event_type, event_created_at, job_id, channel, channel_id, body
    )
    select p_event.project_id, p_event.id, p_event.type, p_event.created_at, p_event.job_id, c.kind, c.id,
      (v_said || jsonb_build_object('id', v_id, 'type', p_event.type, 'job_id', p_event.job_id))::text
    from public.notification_channels c
    where c.project_id = p_event.project_id and c.enabled and p_event.type = any (c.event_types)
      and c.created_at <= p_event.created_at
    on conflict (event_id, channel_id) do nothing;
  end if;
end $$;

-- Fans out up to p_limit events, oldest first; returns how many. An event that fails is put off and holds up nobody.
create function tunebase.fan_out(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_failure tunebase.trigger_failures;
  v_event tunebase.outbox;
  v_count integer := 0;
begin
  for v_failure in
    select * from tunebase.trigger_failures where type is not null and repaired_at is null
    order by id limit p_limit for update skip locked
  loop
    begin
      insert into tunebase.outbox (project_id, job_id, type, data)
      select j.project_id, j.id, v_failure.type, tunebase.job_event_data(j)
      from public.jobs j where j.id = v_failure.job_id;
      update tunebase.trigger_failures set repaired_at = now() where id = v_failure.id;
    exception when others then
      raise warning 'tunebase: % of job % is still owed: %', v_failure.type, v_failure.job_id, sqlerrm;
    end;
  end loop;

  for v_event in
    select * from tunebase.outbox where fanned_out_at is null and due_at <= now()
    order by due_at, id limit p_limit for update skip locked
  loop
    begin
      perform tunebase.fan_out_event(v_event);
      update tunebase.outbox set fanned_out_at = now() where id = v_event.id;
      v_count := v_count + 1;
    exception when others then
      raise warning 'tunebase: event % cannot be fanned out: %', v_event.id, sqlerrm;
      update tunebase.outbox set due_at = now() + interval '1 minute' where id = v_event.id;
    end;
  end loop;
  return v_count;
end $$;
