-- A job that is due wakes the scheduler when its transaction commits: pg_net sends what it was given after the commit.
create function tunebase_internal.wake_scheduler_on_enqueue() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- Once a transaction is enough.
  if coalesce(current_setting('tunebase.nudged', true), '') <> '1' then
    perform set_config('tunebase.nudged', '1', true);
    perform tunebase_internal.wake_scheduler();
  end if;
  return null;
end $$;
