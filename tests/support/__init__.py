"""What tests build with, one builder for each thing.

- ``sweeps`` and ``proven_sweeps`` put sweeps on disk; ``events`` makes them of events alone;
  ``entities`` has single runs, submissions and rows of Slurm.
- ``apps``, ``odd_tasks`` and ``exec_project`` are programs to launch.
- ``processes`` starts programs and ends them with the test; ``tuning`` changes waiting times and sizes.
- ``fake_slurm``, ``fake_pyslurm`` and ``memory_slurm`` stand in for Slurm.
"""
