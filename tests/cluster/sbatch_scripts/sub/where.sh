#!/bin/bash
#SBATCH -o here-%j.log -e here-%j.err -i /dev/null
pwd
