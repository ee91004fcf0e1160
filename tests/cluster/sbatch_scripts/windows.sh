#!/bin/bash
#SBATCH -J windows
echo hello
