-- How many distinct rows of a data file also occur in another: {rows, exact, distinct_rows, other_distinct_rows}.
-- Raises file_not_found, wrong_purpose, and file_not_ready for a file that is not valid, or not validated yet.
create function tunebase_internal.get_file_overlap(p_caller jsonb, p_id uuid, p_other_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:read');
  v_file tunebase.files;
  v_id uuid;
  v_distinct bigint[];
begin
  foreach v_id in array array[p_id, p_other_id] loop
    v_file := tunebase_internal.require_file(v_project_id, v_id);
    if v_file.purpose <> 'fine-tune' then
      perform tunebase_internal.raise_api_error('wrong_purpose', jsonb_build_object('purpose', v_file.purpose));
    elsif v_file.status <> 'processed' then
      perform tunebase_internal.raise_api_error('file_not_ready', jsonb_build_object('status', v_file.status));
    end if;
    v_distinct := v_distinct || (
      select round(cardinality(hashes) * 9007199254740992.0 / threshold)::bigint
      from tunebase_internal.file_row_hashes where file_id = v_id
    );
  end loop;
  return tunebase_internal.file_overlap(p_id, p_other_id)
    || jsonb_build_object('distinct_rows', v_distinct[1], 'other_distinct_rows', v_distinct[2]);
end $$;
