# shellcheck shell=bash
# Which Debian suite has which Slurm, and how the packages get onto the machine. Sourced by scripts/slurm-lab.

suite_of() { # RELEASE: the Debian suite that carries it, or nothing
  case $1 in
    22.05) echo bookworm ;;
    24.11) echo trixie ;;
    26.05) echo forky ;;
  esac
}

native_release() { # the release that this machine has, or would get from its distribution
  if command -v slurmctld >/dev/null; then
    slurmctld -V | sed -n 's/^slurm[^ ]* \([0-9]*\.[0-9]*\)\..*/\1/p'
    return
  fi
  # shellcheck disable=SC1091
  case $(. /etc/os-release && echo "${VERSION_CODENAME:-}") in
    bookworm) echo 22.05 ;;
    trixie) echo 24.11 ;;
    forky) echo 26.05 ;;
    jammy) echo 21.08 ;;
    noble) echo 23.11 ;;
    *) return 1 ;;
  esac
}

# What `bash -c` runs on the host or in a root.
# The plugins' package was renamed between bookworm and trixie; whichever name the suite knows is taken.
# shellcheck disable=SC2016
INSTALL='
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
plugins=$(apt-cache pkgnames slurm-wlm- | grep -xE "slurm-wlm-(basic-)?plugins" | sort | tail -n 1)
apt-get install -y -qq --no-install-recommends slurm-wlm slurmdbd $plugins slurm-wlm-mysql-plugin munge mariadb-server "$@"
'

logged() { # NAME CMD...: what CMD prints goes to a file, whose end is shown if CMD fails
  local log=$LAB/$1.log
  shift
  "$@" >"$log" 2>&1 && return
  tail -n 15 "$log" >&2
  return 1
}

install_native() {
  local program missing='' policy=/usr/sbin/policy-rc.d code=0
  for program in slurmctld slurmd slurmdbd munged mariadbd; do command -v $program >/dev/null || missing+=" $program"; done
  [ -n "$missing" ] || return 0
  echo "slurm-lab: installing the packages of$missing" >&2
  # The lab runs daemons of its own: the packages must not start theirs on the host.
  if [ -e $policy ]; then policy=''; else forbid_daemons $policy; fi
  logged packages-native bash -c "$INSTALL" install procps || code=$?
  [ -z "$policy" ] || rm -f "$policy"
  return $code
}

forbid_daemons() { # FILE: the place of policy-rc.d
  printf '#!/bin/sh\nexit 101\n' >"$1"
  chmod 755 "$1"
}

debian_mirror() { # the Debian mirror that this machine's apt uses, or nothing: debootstrap has a default of its own
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    grep -v security | grep '/debian/\?$' | head -n 1 || true
}

in_new_root() { # CMD...: run it in $ROOT with a /proc, which packages want; what it leaves running ends with it
  # shellcheck disable=SC2016
  unshare --mount --pid --fork --kill-child sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$ROOT" "$@"
}

copy_network_settings() { # so that downloads in $ROOT go the way they go on the host
  local file
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/resolv.conf /etc/hosts; do
    if [ -e $file ]; then mkdir -p "$ROOT${file%/*}" && cp -L $file "$ROOT$file"; fi
  done
}

make_root() { # the Debian root of a release that is not the host's: $ROOT from $SUITE
  local recipe
  # A root stays for months and outlives this file: one that was made by another recipe is made again.
  recipe=$(sha256sum <"${BASH_SOURCE[0]}")
  [ "$(cat "$ROOT/.complete" 2>/dev/null)" != "$recipe" ] || return 0
  echo "slurm-lab: making a Debian $SUITE root in $ROOT; this takes a minute" >&2
  if ! command -v debootstrap >/dev/null; then
    install_packages debootstrap debian-archive-keyring || return
  fi
  rm -rf --one-file-system "$ROOT"
  logged "debootstrap-$SUITE" debootstrap --variant=minbase "$SUITE" "$ROOT" "$(debian_mirror)" \
    /usr/share/debootstrap/scripts/sid || return # one recipe serves all suites, also those it is too old to know
  copy_network_settings
  forbid_daemons "$ROOT/usr/sbin/policy-rc.d"
  # A mirror behind a cache may serve an index past its date; packages are still checked by signature.
  echo 'Acquire::Check-Valid-Until "false";' >"$ROOT/etc/apt/apt.conf.d/99valid"
  logged "packages-$SUITE" in_new_root bash -c "$INSTALL" install \
    python3 python3-venv python3-dev gcc libc6-dev libslurm-dev git procps ca-certificates || return
  if [ "$SUITE" != bookworm ]; then add_older_libmariadb || return; fi
  copy_network_settings # again: the package ca-certificates has written its own list over the host's
  echo "$recipe" >"$ROOT/.complete"
}

# slurmdbd of 24.11 and 26.05 does not start with libmariadb 11.8.9, which refuses its first query ("5027 Number of
# columns in result"); bookworm's, beside it, works.
OLDER_LIBMARIADB=/opt/libmariadb
add_older_libmariadb() {
  sed "s/ $SUITE / bookworm /" "$ROOT/etc/apt/sources.list" >"$ROOT/etc/apt/sources.list.d/bookworm.list"
  logged libmariadb in_new_root bash -c "set -e
    cd /var/tmp
    apt-get update -qq
    apt-get download -qq libmariadb3/bookworm
    dpkg-deb -x libmariadb3_*.deb $OLDER_LIBMARIADB
    rm libmariadb3_*.deb /etc/apt/sources.list.d/bookworm.list"
}
