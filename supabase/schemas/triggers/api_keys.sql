create trigger next_version before update of name, scopes, expires_at, revoked_at on tunebase.api_keys
for each row execute function tunebase_internal.check_and_bump_version();
