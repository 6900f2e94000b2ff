#!/bin/sh
# Runs once, when the database's volume is empty: a user who is no superuser, and a database that it owns.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$SYNC_DB_PASSWORD" --username "$POSTGRES_USER" --dbname postgres <<'SQL'
create role sync login password :'password';
create database sync owner sync encoding 'UTF8' template template0;
SQL
