#!/bin/sh
# Runs once, when the database's volume is empty: creates a user who is not a superuser, and the user's database.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$SYNC_DB_PASSWORD" --username "$POSTGRES_USER" --dbname postgres <<'SQL'
create role sync login password :'password';
create database sync owner sync encoding 'UTF8' template template0;
SQL
