#!/usr/bin/env bash
# A SLURM cluster of one node in a folder of its own. Needs Debian's slurm-wlm and munge, and root.
#
#   cluster.sh run COMMAND...          with a fresh cluster, which ends with the command
#   cluster.sh start FOLDER [CORES]    then SLURM_CONF=FOLDER/slurm.conf names it
#   cluster.sh stop FOLDER
#
# Jobs of the tests mostly wait, so the node claims four cores whatever it has.
set -euo pipefail

for name in slurmctld slurmd munged; do
  PATH=$PATH:/usr/sbin command -v $name >/dev/null || {
    echo "cluster.sh: $name is missing; on Debian or Ubuntu: apt install slurm-wlm munge" >&2
    exit 1
  }
done
[ "$(id -u)" -eq 0 ] || { echo "cluster.sh: needs root, to start slurmd" >&2; exit 1; }
export PATH=$PATH:/usr/sbin

if [ "${1:-}" = run ]; then
  shift
  folder=$(mktemp -d /tmp/bench-cluster-XXXXXX)
  trap '"$0" stop "$folder"; rm -rf "$folder"' EXIT
  trap 'exit 130' INT TERM
  "$0" start "$folder"
  SLURM_CONF=$folder/slurm.conf BENCH_TEST_CLUSTER=$folder "$@"
  exit
fi
[ $# -ge 2 ] || { echo "usage: cluster.sh run COMMAND... | start|stop FOLDER [CORES]" >&2; exit 2; }
action=$1 folder=$(realpath -m "$2") cores=${3:-4}

daemon() { # NAME COMMAND... : start in the background, with its process id in FOLDER/NAME.pid
  local name=$1
  shift
  setsid nohup "$@" >>"$folder/$name.out" 2>&1 </dev/null &
  echo $! >"$folder/$name.pid"
}

wait_for() { # SECONDS COMMAND... : until it succeeds
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { echo "cluster.sh: no success within time: $*" >&2; return 1; }
    sleep 0.2
  done
}

stop() {
  SLURM_CONF=$folder/slurm.conf timeout 5 scancel --user="$(id -un)" 2>/dev/null && sleep 3 || true
  for name in slurmd slurmctld munged; do
    [ -f "$folder/$name.pid" ] || continue
    pid=$(cat "$folder/$name.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$folder/$name.pid"
  done
}

config() {
  local host
  host=$(hostname -s)
  cat >"$folder/slurm.conf" <<CONF
ClusterName=benchtest
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$ctld_port
SlurmdPort=$slurmd_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/ctld.run
SlurmdPidFile=$folder/d.run
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0,defer=0
JobRequeue=1
ReturnToService=2
KillWait=2
SlurmdTimeout=10
SlurmctldTimeout=10
InactiveLimit=0
MinJobAge=300
MaxArraySize=1001
OverTimeLimit=0
PreemptType=preempt/none
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores Boards=1 SocketsPerBoard=1 CoresPerSocket=$cores ThreadsPerCore=1 RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=60 State=UP
PartitionName=short Nodes=$host MaxTime=1 State=UP
CONF
}

case $action in
start)
  mkdir -p "$folder"/{state,spool,munge}
  chmod 755 "$folder"
  read -r ctld_port slurmd_port < <(python3 - <<'PY'
import socket
found = [socket.socket() for _ in range(2)]
for one in found:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in found))
PY
  )
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  [ -f "$folder/munge/key" ] || head -c 1024 /dev/urandom >"$folder/munge/key"
  chmod 400 "$folder/munge/key"
  chmod 700 "$folder/munge"
  [ -f "$folder/slurm.conf" ] || config
  daemon munged munged --foreground --force --key-file="$folder/munge/key" \
    --socket="$folder/munge.socket" --pid-file="$folder/munge/pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
  wait_for 10 test -S "$folder/munge.socket"
  export SLURM_CONF=$folder/slurm.conf
  daemon slurmctld slurmctld -D
  wait_for 20 scontrol ping
  daemon slurmd slurmd -D
  wait_for 30 sh -c 'sinfo --noheader --format=%T | grep -q idle'
  ;;
stop) stop ;;
*)
  echo "cluster.sh: run, start or stop, not $action" >&2
  exit 2
  ;;
esac
