#!/usr/bin/env bash
# Run once, by the image, when the database is made: a role that owns one database and is nothing else.
set -euo pipefail
export PGPASSWORD=$(cat "${POSTGRES_PASSWORD_FILE:-/run/secrets/postgresql.superuser}")
LOOKALIKE_PASSWORD=$(cat "${LOOKALIKE_PASSWORD_FILE:-/run/secrets/postgresql.lookalike}") \
  psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres <<'SQL'
\getenv password LOOKALIKE_PASSWORD
CREATE ROLE lookalike LOGIN PASSWORD :'password';
CREATE DATABASE lookalike OWNER lookalike ENCODING 'UTF8' TEMPLATE template0;
SQL
