"""The schema (SQLAlchemy) and its migrations (Alembic).

Belongs here: tables, views and what they hold. Does not belong here: how records become rows (`upsert`).
"""
