-- A job that is not to start by itself is paused at the moment in which it would be queued for the first time, wherever
-- that is; and has been started when a person takes it out of the pause. After hold_until_checked, by its name: triggers
-- of one kind run in that order, and a job whose files are still being checked is not asked yet.
create function tunebase_internal.hold_manual_start() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'UPDATE' and old.status = 'paused' then
    new.auto_start := true;
  elsif new.status = 'queued' then
    new.status := 'paused';
    new.due_at := null;
    new.queued_at := null;
  end if;
  return new;
end $$;
