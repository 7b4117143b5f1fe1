-- Direct preference optimisation: which method a job has, and that its files have rows for it.

-- As the plan has it, for the job's object, which does not show the plan.
alter table public.jobs
  add column method text generated always as (coalesce(plan ->> 'method', 'supervised')) stored
  check (method in ('supervised', 'dpo'));

-- With the file's name, for messages.
create or replace function tunebase.counted_file(p_file_id uuid, p_tokenizer text) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'id', f.id, 'filename', f.filename, 'bytes', f.bytes, 'object', f.object, 'report', f.report,
    'sample', (
      select sample from tunebase.token_counts where file_id = f.id and counter = coalesce(p_tokenizer, 'characters')
    )
  )
  from public.files f where f.id = p_file_id
$$;

-- As before; a job whose file turns out to have rows of the other method's kind fails, too. The API refuses that at once
-- where the file has been checked before.
create or replace function tunebase.files_ready(p_file_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_file public.files;
  v_job public.jobs;
  v_param text;
begin
  select * into strict v_file from public.files where id = p_file_id;
  for v_job in
    select * from public.jobs
    where (training_file = p_file_id or validation_file = p_file_id) and status in ('validating_files', 'paused')
    order by id
    for no key update
  loop
    v_param := case when v_job.training_file = p_file_id then 'training_file' else 'validation_file' end;
    if v_file.status = 'error' then
      perform tunebase.fail_job(
        v_job.id, 'invalid_file', format('The %s is not valid: %s', replace(v_param, '_', ' '), v_file.status_details),
        'GET /files/{id} lists what is wrong with each row. Mend it, upload it, and create the job again.'
      );
      update public.jobs set error_param = v_param where id = v_job.id;
    elsif (v_file.report ->> 'format' = 'preference') <> (v_job.method = 'dpo') then
      perform tunebase.fail_job(
        v_job.id, 'invalid_file',
        format('The %s, %s, has %s rows, which method "%s" does not learn from.',
          replace(v_param, '_', ' '), v_file.filename, v_file.report ->> 'format', v_job.method),
        'Create the job again with method {"type": "dpo"} for preference rows and without it for others.'
      );
      update public.jobs set error_param = v_param where id = v_job.id;
    elsif v_job.status = 'validating_files' and not exists (
      select from public.files where id in (v_job.training_file, v_job.validation_file) and status <> 'processed'
    ) then
      perform tunebase.files_valid(v_job.id);
    end if;
  end loop;
end $$;
