-- The result file of a job: its metrics as a CSV, made in the transaction in which the job succeeds, so that it is never
-- lost. It lies in the database: a row of 60 bytes a step, compressed, and no second system to write to.

create table tunebase.result_contents (
  file_id uuid primary key references public.files on delete cascade,
  content text not null
);
alter table tunebase.result_contents enable row level security;

alter table public.jobs add column result_file uuid references public.files;
create index jobs_result_file on public.jobs (result_file) where result_file is not null;

-- OpenAI's columns, then ours. What is not known is empty; the trainer counts no accuracies.
create function tunebase.metrics_csv(p_job_id uuid) returns text
language sql stable set search_path = ''
as $$
  select 'step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,epoch,learning_rate,gradient_norm,tokens_per_second' || E'\n'
    || coalesce(string_agg(
      concat(step, ',', training_loss, ',,', validation_loss, ',,', epoch, ',', learning_rate, ',', gradient_norm, ',', tokens_per_second, E'\n'),
      '' order by step
    ), '')
  from public.metrics where job_id = p_job_id
$$;

create function tunebase.make_result_file() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := tunebase.uuid7();
  v_content text := tunebase.metrics_csv(new.id);
begin
  insert into public.files (id, project_id, filename, purpose, bytes, sha256, status, object)
  values (
    v_id, new.project_id, 'step_metrics.csv', 'fine-tune-results', octet_length(convert_to(v_content, 'UTF8')),
    encode(sha256(convert_to(v_content, 'UTF8')), 'hex'), 'processed',
    -- Nothing lies there; the name is only unique.
    'results/' || v_id || '.csv'
  );
  insert into tunebase.result_contents (file_id, content) values (v_id, v_content);
  new.result_file := v_id;
  return new;
end $$;

create trigger make_result_file before update of status on public.jobs
for each row when (new.status = 'succeeded' and old.status <> 'succeeded' and new.result_file is null)
execute function tunebase.make_result_file();

-- What a result file holds. The caller's right to the file has been checked by get_file.
create function tunebase.result_content(p_caller jsonb, p_file_id uuid) returns text
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase.get_file(p_caller, p_file_id);
  return (select content from tunebase.result_contents where file_id = p_file_id);
end $$;

-- A deleted file's bytes go; here that is at once.
create function tunebase.forget_result() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from tunebase.result_contents where file_id = new.id;
  return null;
end $$;
create trigger forget_result after update of deleted_at on public.files
for each row when (new.deleted_at is not null and new.purpose = 'fine-tune-results')
execute function tunebase.forget_result();

revoke execute on all functions in schema tunebase from public;
grant execute on function tunebase.result_content(jsonb, uuid) to tunebase_api;
