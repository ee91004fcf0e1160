# shellcheck shell=bash
# What the scripts need to know of, and do to, the machine they run on. Sourced by them.

step() { # TEXT: say what begins now, and how many seconds after the start of the script
  printf '[%3d s] %s\n' "$SECONDS" "$*" >&2
}

open_to_others() { # PATH: may every user reach and read it? (link targets included)
  local path mode
  path=$(realpath -e "$1" 2>/dev/null) || return
  mode=$(stat -c %A "$path")
  [ "${mode:7:1}" = r ] || return
  while :; do
    mode=$(stat -c %A "$path")
    [[ ${mode:9:1} = [xt] ]] || [ -f "$path" ] || return # x, or t: sticky and enterable
    [ "$path" != / ] || return 0
    path=$(dirname "$path")
  done
}

LISTS= # fresh, once apt-get has brought its lists up to date
install_packages() { # PACKAGE...: with apt-get if this is root on a Debian or Ubuntu, else fail
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return 1; fi
  export DEBIAN_FRONTEND=noninteractive
  if [ -z "$LISTS" ]; then
    step "bringing the lists of apt-get up to date"
    quietly apt-get update -qq || return
    LISTS=fresh
  fi
  step "installing the packages $* with apt-get"
  quietly apt-get install -y -qq --no-install-recommends "$@"
}

quietly() { # CMD...: show what it printed only if it fails
  local said
  said=$("$@" 2>&1) && return
  tail -n 15 <<<"$said" >&2
  return 1
}
