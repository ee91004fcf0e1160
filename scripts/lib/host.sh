# shellcheck shell=bash
# What the scripts need to know of, and do to, the machine they run on. Sourced by them.

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

install_packages() { # PACKAGE...: with apt-get if this is root on a Debian or Ubuntu, else fail
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return 1; fi
  echo "installing $*" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
