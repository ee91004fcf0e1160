#!/bin/bash
# The first process of the lab's namespace: starts the daemons, writes FOLDER/ready, and reaps what jobs leave behind.
# usage: slurm-daemons.sh ROOT FOLDER VERSION [VISIBLE...]       Called by scripts/slurm-lab through unshare.
# ROOT is / or another Debian root; the folders VISIBLE are shown in there under the same paths.

set -u

enter_root() { # make the mounts private and go on inside ROOT, in a clean environment
  local root=$1 folder=$2 number=$3 visible
  shift 3
  mount --make-rprivate /
  if [ "$root" != / ]; then
    for visible in /dev /sys "$@"; do
      mkdir -p "$root$visible"
      mount --rbind "$visible" "$root$visible"
    done
  fi
  # slurm-lab recognises its own first process by HPCORCH_LAB_INSTANCE.
  exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "HPCORCH_LAB_INSTANCE=$folder" \
    "SLURM_CONF=$folder/slurm.conf" "VERSION=$number" /bin/bash "$(realpath "$0")"
}

failed() { # SENTENCE: why the cluster cannot start; ends the namespace
  echo "$1" >"$W/failed"
  exit 1
}

patiently() { # NAME CMD...: repeat CMD until it succeeds, for 30 s
  local name=$1 _
  shift
  for _ in $(seq 150); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.2
  done
  failed "$name does not answer"
}

value() { sed -n "s/^$1=//p" "$2"; }
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

start_munge() {
  mkdir -p /run/munge
  mount -t tmpfs -o mode=755 tmpfs /run/munge # its socket has a fixed place, which is private here
  chown munge "$W/munge.key" "$W/run" /run/munge
  setpriv --reuid=munge --regid=munge --clear-groups munged --force --key-file="$W/munge.key" \
    --socket=/run/munge/munge.socket.2 --pid-file="$W/run/munged.pid" --log-file="$W/run/munged.log" \
    --seed-file="$W/run/munge.seed"
  patiently munged munge -n
}

start_database() {
  local isolation=() socket=/run/mysqld/mysqld.sock
  mkdir -p /run/mysqld
  mount -t tmpfs -o mode=755 tmpfs /run/mysqld
  chown mysql "$W/db" /run/mysqld
  # --force: a machine need not be able to look its own name up.
  mariadb-install-db --no-defaults --user=mysql --datadir="$W/db" --auth-root-authentication-method=normal --skip-test-db \
    --force >"$W/log/mariadb-install.log" 2>&1 || failed "mariadb-install-db failed"
  # MariaDB 11.8 isolates snapshots more strictly by default than slurmdbd can take.
  [ "$VERSION" -lt 2411 ] || isolation=(--innodb-snapshot-isolation=OFF)
  mariadbd --no-defaults --user=mysql --datadir="$W/db" "${isolation[@]}" --innodb-lock-wait-timeout=900 \
    --innodb-buffer-pool-size=128M --skip-networking --socket=$socket --pid-file=/run/mysqld/mysqld.pid \
    >"$W/log/mariadb.log" 2>&1 &
  patiently mariadbd mariadb-admin --no-defaults -uroot --socket=$socket ping
}

start_accounting() {
  local older name
  older=$(dirname /opt/libmariadb/usr/lib/*/libmariadb.so.3) # present where add_older_libmariadb put it, else ignored
  LD_LIBRARY_PATH=$older slurmdbd -D >"$W/log/slurmdbd.out" 2>&1 &
  patiently slurmdbd listens "$(value DbdPort "$W/slurmdbd.conf")"
  {
    sacctmgr -i add cluster "$(value ClusterName "$SLURM_CONF")"
    sacctmgr -i add account lab Description=lab Organization=lab
    for name in root alice bob carol; do sacctmgr -i add user $name account=lab; done
  } >"$W/log/sacctmgr.log" 2>&1 || failed "sacctmgr could not make the accounts"
}

start_slurm() {
  local node
  slurmctld -D >"$W/log/slurmctld.out" 2>&1 &
  patiently slurmctld listens "$(value SlurmctldPort "$SLURM_CONF")"
  for node in n1 n2 n3 n4; do
    mkdir -p "$W/spool/$node"
    slurmd -D -N $node >"$W/log/slurmd-$node.out" 2>&1 &
  done
}

[ $# = 0 ] || enter_root "$@"

W=$HPCORCH_LAB_INSTANCE
mount -t proc proc /proc
start_munge
start_database
start_accounting
start_slurm
touch "$W/ready"
# This shell stays: as process 1 it inherits the orphans of jobs, and it reaps them.
sleep infinity &
wait
