-- For the operator: the user with this confirmed email address. Confirmed, because anyone can sign up with another person's
-- address and their own password, and wait for that person to confirm it.
create function tunebase_internal.find_user(p_email text) returns uuid
language plpgsql stable set search_path = ''
as $$
declare
  v_ids uuid[];
  v_confirmed uuid[];
begin
  select array_agg(id), array_agg(id) filter (where email_confirmed_at is not null) into v_ids, v_confirmed
  from auth.users where lower(email) = lower(btrim(p_email));
  if v_ids is null then
    raise exception 'No user has the email address %. They must sign up first.', p_email;
  elsif v_confirmed is null then
    raise exception 'The user with the email address % has not confirmed it yet.', p_email;
  elsif cardinality(v_confirmed) > 1 then
    raise exception '% users have the email address %.', cardinality(v_confirmed), p_email;
  end if;
  return v_confirmed[1];
end $$;
