-- Which scopes a role implies: viewers can read, developers can do everything except manage the project, owners everything.
create function tunebase_internal.role_allows(p_role text, p_scope text) returns boolean
language sql immutable
return case p_role
  when 'owner' then true
  when 'developer' then p_scope not like '%:admin'
  when 'viewer' then p_scope like '%:read'
  else false
end;
