"""Who may connect to the embedded PostgreSQL, and as which role.

Only the user who started it and root can connect. The kernel identifies them (`peer`); there is no password. They
connect as `sync`, which owns the database and is not a superuser, or as `sync_reader`, which only reads. The superuser
`postgres` is for administration of the server.

Belongs here: roles, `pg_hba.conf`, `pg_ident.conf`. Does not belong here: starting and stopping (`embedded`).
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Final

from sync_pipelines.privacy.private_files import write_private

SUPERUSER: Final = "postgres"
OWNER: Final = "sync"
READER: Final = "sync_reader"
_VERSION: Final = "1\n"
_MARK: Final = "sync_pipelines.access"
_HBA: Final = f"""\
# Written at every start. Only the users in pg_ident.conf can connect; the kernel identifies them.
local all {SUPERUSER} peer map=sync
local all {OWNER} peer map=sync
local all {READER} peer map=sync
"""
_ROLE: Final = """\
do $$ begin
  if not exists (select from pg_roles where rolname = '{role}') then create role {role}; end if;
end $$;

alter role {role} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls;

"""
_IN_USE: Final = "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
# In clusters of earlier versions the superuser owns everything.
_OWNERSHIP: Final = f"""\
alter database postgres owner to {OWNER};

do $$ declare found record; begin
  for found in select nspname from pg_namespace n where {_IN_USE} and nspname <> 'public' loop
    execute format('alter schema %I owner to {OWNER}', found.nspname);
  end loop;
  for found in select n.nspname, c.relname, c.relkind from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where {_IN_USE} and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and not exists (select from pg_depend d where d.objid = c.oid and c.relkind = 'S' and d.deptype in ('a', 'i'))
  loop
    execute format('alter %s %I.%I owner to {OWNER}', case found.relkind when 'v' then 'view'
      when 'm' then 'materialized view' when 'f' then 'foreign table' when 'S' then 'sequence' else 'table' end,
      found.nspname, found.relname);
  end loop;
  for found in select p.oid::regprocedure as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where {_IN_USE} loop
    execute format('alter routine %s owner to {OWNER}', found.name);
  end loop;
  for found in select n.nspname, t.typname from pg_type t join pg_namespace n on n.oid = t.typnamespace
    where {_IN_USE} and t.typtype in ('e', 'd') loop
    execute format('alter type %I.%I owner to {OWNER}', found.nspname, found.typname);
  end loop;
end $$;

"""
ROLES: Final = (
    _ROLE.format(role=OWNER)
    + _ROLE.format(role=READER)
    + f"grant pg_read_all_data to {READER};\n\n"
    + f"alter role {READER} set default_transaction_read_only = on;\n\n"
    + _OWNERSHIP
)
"""Statements for a server in single-user mode, each followed by an empty line."""


def has_roles(data: Path) -> bool:
    """Whether the cluster already has its roles."""
    try:
        return (data / _MARK).read_text() == _VERSION
    except OSError:
        return False


def mark_roles(data: Path) -> None:
    """Records that the cluster has its roles."""
    write_private(data / _MARK, _VERSION, _owner(data))


def write_access(data: Path) -> None:
    """Writes who can connect: this process's user, and root, who could become any user anyway."""
    users = dict.fromkeys((user_name(os.geteuid()), "root"))
    lines = [f'sync "{user}" {role}\n' for user in users for role in (SUPERUSER, OWNER, READER)]
    write_private(data / "pg_hba.conf", _HBA, _owner(data))
    write_private(data / "pg_ident.conf", "# Written at every start.\n" + "".join(lines), _owner(data))


def user_name(number: int) -> str:
    """Returns the name of a user of this machine.

    Raises:
        OSError: the user has no name, which PostgreSQL needs.
    """
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        raise OSError(f"user {number} has no name on this machine (/etc/passwd)") from None


def _owner(data: Path) -> tuple[int, int]:
    found = data.stat()
    return found.st_uid, found.st_gid
