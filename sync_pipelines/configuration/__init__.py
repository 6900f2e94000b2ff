"""The configuration: settings, `.env`, `sources.yaml`, and the limits of exports.

Belongs here: reading, checking and writing them. Does not belong here: acting on them.
"""
