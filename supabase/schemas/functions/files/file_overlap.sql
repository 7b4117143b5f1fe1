-- How many distinct rows two files share: {rows, exact}, or null if one of them has no hashes. Files with more than 16,384
-- distinct rows are compared by samples: both keep their lowest hashes, so shared rows are sampled in both.
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
