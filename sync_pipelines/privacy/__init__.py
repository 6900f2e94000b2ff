"""Privacy and safety: masks, redaction, file modes, and text of exports made safe.

Belongs here: masking, redaction, file modes, escaping. Does not belong here: which fields are
personal (`partners`, by `contracts.personal`).
"""
