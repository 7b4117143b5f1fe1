create trigger next_version before update of name, url, event_types, progress_seconds, enabled, secret_version or delete
on tunebase.webhook_endpoints
for each row execute function tunebase_internal.check_and_bump_version();
