"""Everything that talks to Slurm: options, batch scripts, commands, parsers, errors, the client."""
