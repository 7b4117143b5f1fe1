-- The days p_from through p_to in p_time_zone, as a range of time. Raises invalid_time_zone.
create function tunebase_internal.days_to_range(p_from date, p_to date, p_time_zone text) returns tstzrange
language plpgsql stable set search_path = ''
as $$
begin
  return tstzrange(p_from::timestamp at time zone p_time_zone, (p_to + 1)::timestamp at time zone p_time_zone);
exception when invalid_parameter_value then
  perform tunebase_internal.raise_api_error('invalid_time_zone', jsonb_build_object(
    'time_zone', p_time_zone, 'param', 'time_zone'
  ));
end $$;
