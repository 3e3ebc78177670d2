#!/usr/bin/env python3
"""Stops one thread of a process, as if it were stuck, while its other threads go on. It stays stopped until this program
ends. Says "stopped" once it is.

  stop_thread.py TID
"""
import ctypes
import os
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207

thread = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit(f"stop_thread.py: thread {thread} cannot be stopped: {os.strerror(ctypes.get_errno())}")
os.waitpid(thread, 0x40000000)  # __WALL: it need not be the first of its process
print("stopped", flush=True)
# Its end has to be taken note of by whoever traces it: until then the process would stay as a zombie.
os.waitpid(thread, 0x40000000)
