# shellcheck shell=bash
# The configuration files of the lab's cluster. Sourced by scripts/slurm-lab.

claim_ports() { # set BLOCK: the first block of ports xx817, xx819 and xx901-xx904 that no lab has and nobody listens on
  local port
  for BLOCK in $(seq 16 31); do # below 32768, where the kernel takes ports for outgoing connections
    # The lab's first process inherits this lock and holds it while it lives: two labs may start at the same moment.
    exec 8>"/run/hpcorch-lab-ports-$BLOCK.lock"
    flock --nonblock 8 || continue
    for port in 817 819 901 902 903 904; do
      if (exec 3<>"/dev/tcp/127.0.0.1/$BLOCK$port") 2>/dev/null; then continue 2; fi
    done
    return
  done
  return 1
}

write_configuration() { # FOLDER VERSION PORTS
  local folder=$1 version=$2 block=$3 gpu
  # Slurm counts devices by their names; which device answers does not matter, so it is /dev/null's number.
  for gpu in 0 1; do mknod "$folder/dev/nvidia$gpu" c 1 3 || return; done
  slurm_conf "$folder" "$version" "$block" >"$folder/slurm.conf"
  echo "NodeName=n[1-4] Name=gpu Type=a100 File=$folder/dev/nvidia[0-1]" >"$folder/gres.conf"
  # Releases before 23.11 want a cgroup plugin even where nothing uses it.
  if [ "$version" -ge 2311 ]; then echo CgroupPlugin=disabled
  else printf '%s\n' CgroupPlugin=cgroup/v1 CgroupMountpoint=/sys/fs/cgroup
  fi >"$folder/cgroup.conf"
  install -m 600 /dev/null "$folder/slurmdbd.conf"
  slurmdbd_conf "$folder" "$block" >"$folder/slurmdbd.conf"
  head -c 1024 /dev/urandom >"$folder/munge.key"
  chmod 400 "$folder/munge.key"
}

slurm_conf() { # FOLDER VERSION PORTS
  local folder=$1 version=$2 ports=$3 host credentials=CredType=cred/munge
  host=$(uname -n)
  host=${host%%.*}
  [ "$version" -ge 2311 ] || credentials=CryptoType=crypto/munge
  cat <<CONF
ClusterName=lab$version
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
$credentials
# A requeued job waits until its old credential has expired: 2 minutes by default, here about 7 s.
AuthInfo=cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd-%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd-%n.log
SlurmctldPort=${ports}817
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=3,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Without it each job would take a node's whole memory.
DefMemPerCPU=200
GresTypes=gpu
Licenses=scratch:4,matlab:2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=${ports}819
AccountingStorageTRES=gres/gpu,license/scratch
AccountingStorageEnforce=associations,limits,qos
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
MinJobAge=300
MaxArraySize=1001
MaxJobCount=20000
# The nodes pretend to have more CPUs and memory than the machine.
SlurmdParameters=config_overrides
KillWait=5
NodeName=n[1-4] NodeHostname=$host NodeAddr=127.0.0.1 Port=[${ports}901-${ports}904] CPUs=8 RealMemory=16000 Gres=gpu:a100:2 State=UNKNOWN
PartitionName=normal Nodes=n[1-4] Default=YES MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=preempt Nodes=n[1-4] MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=cancelp Nodes=n[1-4] MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL GraceTime=5
PartitionName=urgent Nodes=n[1-4] MaxTime=INFINITE State=UP PriorityTier=100
CONF
}

slurmdbd_conf() { # FOLDER PORTS
  cat <<CONF
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=${2}819
SlurmUser=root
LogFile=$1/log/slurmdbd.log
PidFile=$1/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct
CONF
}
