"""Where output goes, and which part of a file is one attempt's."""
