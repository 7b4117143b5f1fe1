-- The projects of the authenticated user, for row-level security. None for anonymous users, as in the API. Security definer,
-- because the policy on project_members would otherwise call itself.
create function tunebase_internal.member_project_ids() returns setof uuid
language sql stable security definer set search_path = ''
as $$
  select project_id
  from tunebase.project_members
  where user_id = (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
    and nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'is_anonymous' is distinct from 'true'
$$;
