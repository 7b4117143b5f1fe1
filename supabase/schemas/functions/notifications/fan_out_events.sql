-- Fans out up to p_limit events, oldest first. Returns how many. A failing event is postponed and blocks no other.
create function tunebase_internal.fan_out_events(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_failure tunebase_internal.trigger_failures;
  v_event tunebase_internal.outbox;
  v_count integer := 0;
begin
  for v_failure in
    select * from tunebase_internal.trigger_failures where type is not null and repaired_at is null
    order by id limit p_limit for update skip locked
  loop
    begin
      insert into tunebase_internal.outbox (project_id, job_id, type, data)
      select j.project_id, j.id, v_failure.type, tunebase_internal.job_event_data(j)
      from tunebase.jobs j where j.id = v_failure.job_id;
      update tunebase_internal.trigger_failures set repaired_at = now() where id = v_failure.id;
    exception when others then
      raise warning 'tunebase: event % of job % could not be written: %', v_failure.type, v_failure.job_id, sqlerrm;
    end;
  end loop;

  for v_event in
    select * from tunebase_internal.outbox where fanned_out_at is null and due_at <= now()
    order by due_at, id limit p_limit for update skip locked
  loop
    begin
      perform tunebase_internal.fan_out_event(v_event);
      update tunebase_internal.outbox set fanned_out_at = now() where id = v_event.id;
      v_count := v_count + 1;
    exception when others then
      raise warning 'tunebase: event % cannot be fanned out: %', v_event.id, sqlerrm;
      update tunebase_internal.outbox set due_at = now() + interval '1 minute' where id = v_event.id;
    end;
  end loop;
  return v_count;
end $$;
