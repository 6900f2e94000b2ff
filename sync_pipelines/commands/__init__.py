"""The commands of `sync-pipelines` and their output, one module for each command.

Belongs here: texts and layout for people, JSON for programs. Does not belong here: options (`cli`), the work itself.
"""
