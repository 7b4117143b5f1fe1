-- The operator's settings: one row, which the migrations insert. `task operator` prints the statements that change it.
create table tunebase_internal.settings (
  one_row boolean primary key default true check (one_row),
  -- Who may create a project. invite: owners only; the operator names the first (add_owner). open: every user of the host app.
  signup text not null default 'invite' check (signup in ('invite', 'open')),
  -- The monthly cap that a new project gets; null: none.
  default_spend_cap_usd numeric(12, 4) default 50 check (default_spend_cap_usd > 0),
  -- The highest monthly cap that an owner may set; null: any cap, or no cap.
  max_spend_cap_usd numeric(12, 4) check (max_spend_cap_usd > 0),
  -- Archived projects count: otherwise an owner could archive a project that has spent its cap and create another.
  max_projects_per_owner integer not null default 20 check (max_projects_per_owner between 1 and 10000),
  -- With open sign-up, users must not set their own spending limits.
  constraint open_signup_needs_caps check (
    signup = 'invite' or (default_spend_cap_usd is not null and max_spend_cap_usd is not null)
  ),
  constraint default_within_max check (
    max_spend_cap_usd is null or (default_spend_cap_usd is not null and default_spend_cap_usd <= max_spend_cap_usd)
  )
);

alter table tunebase_internal.settings enable row level security;

comment on table tunebase_internal.settings is 'The operator''s settings: one row.';
