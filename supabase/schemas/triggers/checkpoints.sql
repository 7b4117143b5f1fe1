create trigger tunebase_outbox_checkpoint after insert on tunebase.checkpoints
for each row execute function tunebase_internal.enqueue_checkpoint_event();
