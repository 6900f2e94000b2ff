"""The revisions, numbered in order; a published one is never changed."""
