"""Everything said to Slurm and heard from it: options, batch scripts, commands, parsers, errors, the client."""
