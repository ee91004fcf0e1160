#!/bin/bash
#SBATCH --job-name=Größe-日本語-é
#SBATCH --comment="naïve — ✓"
#SBATCH --output=sortie-ü-%j.txt
echo "Ünïcödé"
