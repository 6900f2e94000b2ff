"""What the commands of `sync-pipelines` do and how it looks, one module a command.

Belongs here: words and layout for people, JSON for programs. Does not belong here: options (`cli`), the work itself.
"""
