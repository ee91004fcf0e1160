"""What tests build with, one builder for each thing.

- ``sweeps`` and ``proven_sweeps`` put sweeps on disk; ``events`` makes them of events alone.
- ``apps``, ``odd_tasks`` and ``exec_project`` are programs to launch.
- ``fake_slurm``, ``fake_pyslurm`` and ``memory_slurm`` stand in for Slurm.
"""
