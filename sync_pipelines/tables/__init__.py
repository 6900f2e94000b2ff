"""The schema (SQLAlchemy) and its migrations (Alembic).

Belongs here: what the tables are. Does not belong here: how records become rows.
"""
