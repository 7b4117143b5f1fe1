-- Counts one e-mail to an address, if this hour has room for it: 60 in all, 5 of them tests. false: do not send it.
create function tunebase_internal.count_email(p_address text, p_is_test boolean) returns boolean
language plpgsql set search_path = ''
as $$
begin
  insert into tunebase_internal.email_counts as c (address, hour, mails, tests)
  values (lower(p_address), date_trunc('hour', now()), 1, p_is_test::integer)
  on conflict (address, hour) do update
  set mails = c.mails + 1, tests = c.tests + excluded.tests
  where c.mails < 60 and c.tests + excluded.tests <= 5;
  return found;
end $$;
