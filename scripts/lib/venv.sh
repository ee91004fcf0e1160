# shellcheck shell=bash
# The project's virtual environment, shared by scripts/test and scripts/demo, which source this file.
# Jobs run as another user than the one who sets things up, so interpreter and environment must be readable by all:
# a Python below /root, as pyenv puts it, works for root and for nobody else.

# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/host.sh"

usable_python() { # INTERPRETER: is it 3.10 or later, with venv and pip?
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

python_open_to_others() { # INTERPRETER
  local file
  while read -r file; do open_to_others "$file" || return; done < <(
    "$1" -c 'import os, sys; print(sys.executable, os.path.dirname(os.__file__), sep="\n")'
  )
}

find_python() { # print the interpreter to use: the first that all users can read, else the first that works
  local candidate second=''
  if [ -n "${HPCORCH_PYTHON:-}" ]; then
    if usable_python "$HPCORCH_PYTHON"; then echo "$HPCORCH_PYTHON"; return; fi
    echo "HPCORCH_PYTHON=$HPCORCH_PYTHON is not a Python 3.10 or later with venv and ensurepip." >&2
    return 1
  fi
  for candidate in /usr/bin/python3 python3 python3.1{4,3,2,1,0}; do
    usable_python "$candidate" || continue
    if python_open_to_others "$candidate"; then command -v "$candidate"; return; fi
    second=${second:-$(command -v "$candidate")}
  done
  [ -z "$second" ] || echo "$second"
}

choose_python() { # print the interpreter; as root, install the distribution's if that is what is missing
  local python
  python=$(find_python) || return
  if [ -z "$python" ] || { [ "$(id -u)" = 0 ] && ! python_open_to_others "$python"; }; then
    if install_packages python3-venv; then python=$(find_python) || return; fi
  fi
  if [ -z "$python" ]; then
    echo "No Python 3.10 or later with venv was found: install python3-venv, or name one in HPCORCH_PYTHON." >&2
    return 1
  fi
  echo "$python"
}

ensure_venv() { # PROJECT FOLDER EXTRA: make FOLDER a virtual environment with PROJECT[EXTRA], or reuse it
  local project=$1 folder=$2 extra=$3 python stamp found=''
  python=$(choose_python) || return
  stamp=$(cd "$project" && { echo "$folder $project"; "$python" -VV; ls hpcorch/_plugin 2>/dev/null; cat pyproject.toml; } | sha256sum)
  [ ! -e "$folder/hpcorch-stamp" ] || found=$(<"$folder/hpcorch-stamp")
  case $found in
    "$stamp $extra" | "$stamp dev") # dev holds what the demo needs
      step "reusing the virtual environment $folder"
      return
      ;;
  esac
  (
    set -o pipefail
    umask 022
    if [ "${found% *}" != "$stamp" ]; then
      step "making the virtual environment $folder with $python ($("$python" -V))"
      rm -rf "$folder"
      "$python" -m venv "$folder" || exit
    fi
    step "installing hpcorch[$extra] into it"
    # A pip that is older than the standard for builds would warn of each package that it builds the old way.
    PIP_USE_PEP517=1 "$folder/bin/python" -m pip install --disable-pip-version-check --editable "${project}[$extra]" |
      show_packages && echo "$stamp $extra" >"$folder/hpcorch-stamp"
  ) || {
    echo "The virtual environment could not be made: see pip's message above; a package index must be reachable." >&2
    return 1
  }
}

show_packages() { # of pip's output: one line, on a terminal, that names the package at work
  local word name
  while read -r word name _; do
    [ "$word $name" != "Installing collected" ] || step "all packages are here; writing them"
    [ -t 2 ] && [ "$word" = Collecting ] && printf '\r\033[K        %s\r' "$name" >&2
  done
  [ ! -t 2 ] || printf '\033[K' >&2
}
