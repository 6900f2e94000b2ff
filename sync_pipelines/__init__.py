"""Keeps four PostgreSQL tables equal to what commerce partners' exports said, as a Dagster project."""
