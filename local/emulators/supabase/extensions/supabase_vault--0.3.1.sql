-- The tables and functions of Supabase Vault, in SQL. Differs: pgcrypto encrypts, and the key is in a table of this
-- database; the platform keeps it outside.
create table vault.emulated_key (key text not null);
insert into vault.emulated_key values (encode(extensions.gen_random_bytes(32), 'hex'));
revoke all on vault.emulated_key from public;

create table vault.secrets (
  id uuid primary key default gen_random_uuid(),
  name text,
  description text not null default '',
  secret text not null,
  key_id uuid,
  nonce bytea default extensions.gen_random_bytes(16),
  created_at timestamptz not null default current_timestamp,
  updated_at timestamptz not null default current_timestamp
);
create unique index secrets_name_idx on vault.secrets (name) where name is not null;

create function vault.emulated_encrypt(secret text) returns text
language sql volatile security definer set search_path = ''
as $$ select extensions.armor(extensions.pgp_sym_encrypt(secret, key)) from vault.emulated_key $$;
create function vault.emulated_decrypt(secret text) returns text
language sql stable security definer set search_path = ''
as $$ select extensions.pgp_sym_decrypt(extensions.dearmor(secret), key) from vault.emulated_key $$;

create view vault.decrypted_secrets as
select id, name, description, secret, vault.emulated_decrypt(secret) as decrypted_secret, key_id, nonce, created_at, updated_at
from vault.secrets;

create function vault.create_secret(
  new_secret text, new_name text default null, new_description text default '', new_key_id uuid default null
) returns uuid
language sql security definer set search_path = ''
as $$
  insert into vault.secrets (secret, name, description)
  values (vault.emulated_encrypt(new_secret), new_name, new_description)
  returning id
$$;

create function vault.update_secret(
  secret_id uuid, new_secret text default null, new_name text default null, new_description text default null,
  new_key_id uuid default null
) returns void
language sql security definer set search_path = ''
as $$
  update vault.secrets
  set secret = coalesce(vault.emulated_encrypt(new_secret), secret), name = coalesce(new_name, name),
    description = coalesce(new_description, description), updated_at = now()
  where id = secret_id
$$;

revoke all on all functions in schema vault from public;
grant usage on schema vault to postgres, service_role;
grant select, delete on vault.secrets, vault.decrypted_secrets to postgres, service_role;
grant execute on function vault.create_secret, vault.update_secret, vault.emulated_decrypt to postgres, service_role;
