create trigger next_version before update of target, event_types, enabled or delete on tunebase.notification_channels
for each row execute function tunebase_internal.check_and_bump_version();
