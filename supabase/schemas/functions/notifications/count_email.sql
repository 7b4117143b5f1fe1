-- Counts one email to an address. Returns false, and the email must not be sent, above the hourly limit: 60, at most 5 of
-- them tests.
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
