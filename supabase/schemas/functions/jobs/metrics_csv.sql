-- OpenAI's columns, then ours. Unknown values are empty; the trainer measures no accuracy.
create function tunebase_internal.metrics_csv(p_job_id uuid) returns text
language sql stable set search_path = ''
as $$
  select 'step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,epoch,learning_rate,gradient_norm,tokens_per_second' || E'\n'
    || coalesce(string_agg(
      concat(step, ',', training_loss, ',,', validation_loss, ',,', epoch, ',', learning_rate, ',', gradient_norm, ',', tokens_per_second, E'\n'),
      '' order by step
    ), '')
  from tunebase.metrics where job_id = p_job_id
$$;
