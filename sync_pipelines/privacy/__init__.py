"""What nobody else may see, and text that nobody may be harmed by.

Belongs here: masks, redaction, modes of files, text of exports made safe. Does not belong here: which fields are
personal (`partners`, by `contracts.personal`).
"""
