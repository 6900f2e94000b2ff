"""What the user says: settings, `.env`, `sources.yaml`, and the limits an export is held to.

Belongs here: reading and checking them. Does not belong here: what is done under them.
"""
