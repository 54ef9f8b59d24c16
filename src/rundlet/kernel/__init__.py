"""The kernel's calls, one syscall family a file, named by its man page; the only place with ctypes."""
