"""What Slurm's commands print, parsed into values. Pure: no command is started here."""
