create trigger next_version before update of name, max_running, spend_cap_usd, archived_at on tunebase.projects
for each row execute function tunebase_internal.check_and_bump_version();
