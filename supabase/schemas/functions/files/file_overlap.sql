-- How many different rows two files have in common: {rows, exact}; null when one of them was not compared. Files of more
-- than 16,384 different rows are compared by samples, which share their sampled rows because both keep the lowest hashes.
create function tunebase_internal.file_overlap(p_file_id uuid, p_other_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  with compared as (
    select a.hashes as ours, b.hashes as theirs, least(a.threshold, b.threshold) as threshold
    from tunebase_internal.file_row_hashes a, tunebase_internal.file_row_hashes b
    where a.file_id = p_file_id and b.file_id = p_other_id
  ), common as (
    select count(*) as rows from (
      select unnest(ours) as hash from compared intersect select unnest(theirs) from compared
    ) c
    where hash < (select threshold from compared)
  )
  select jsonb_build_object(
    'rows', round(common.rows * 9007199254740992.0 / compared.threshold), 'exact', compared.threshold = 9007199254740992
  )
  from compared, common
$$;
