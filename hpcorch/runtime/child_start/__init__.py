"""What Python finds first in a process that a job starts; a folder for PYTHONPATH, imported by nobody."""
