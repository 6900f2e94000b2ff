"""This process: which modules it imports, and how it shares memory between threads.

Belongs here: settings of the interpreter and of the C library. Does not belong here: other processes.
"""
