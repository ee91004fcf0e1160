"""The Hydra launchers: compose and freeze on the login node, submit, wait or leave."""
