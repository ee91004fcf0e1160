#!/bin/bash
#SBATCH --job-name="two words" --comment='he said "hi"'
#SBATCH --output="log file-%j.out" --mail-type=END,FAIL --mail-user="a.b+c@example.org" # who cares
#SBATCH --export=ALL,GREETING="hello there"
cat <<EOF
It's "$GREETING" and \$HOME is $HOME
EOF
cat <<'EOF'
nothing $here `is` expanded
EOF
