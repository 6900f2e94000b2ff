"""This process: how it shares memory between threads.

Belongs here: settings of the C library. Does not belong here: other processes.
"""
