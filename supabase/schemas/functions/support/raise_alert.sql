-- Alerts the operator. Repeats of the same kind and subject increment `occurrences`.
create function tunebase_internal.raise_alert(p_kind text, p_subject text, p_message text) returns void
language sql set search_path = ''
as $$
  insert into tunebase_internal.alerts as a (kind, subject, message) values (p_kind, p_subject, p_message)
  on conflict (kind, subject) do update set message = excluded.message, occurrences = a.occurrences + 1, last_at = now()
$$;
