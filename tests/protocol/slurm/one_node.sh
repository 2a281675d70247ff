#!/bin/sh
# A whole SLURM on this machine alone, for tests: munge, controller and node daemon on the loopback interface; no systemd,
# no cgroups, no database. As root, with Debian's packages: apt-get install slurm-wlm munge
#   sh tests/protocol/slurm/one_node.sh start FOLDER [PORT]
#   export SLURM_CONF=FOLDER/slurm.conf     and sinfo, sbatch, srun work
#   sh tests/protocol/slurm/one_node.sh stop FOLDER
# What it lacks beside a cluster: accounting (sacct) and limits on memory and devices.
set -eu

case "${1-}" in
start)
  FOLDER=$2 PORT=${3:-16817} NODE=$(hostname -s)
  mkdir -p "$FOLDER/state" "$FOLDER/spool" /run/munge
  chown munge:munge /run/munge
  munge -n >/dev/null 2>&1 || runuser -u munge -- /usr/sbin/munged
  # cred_expire: a requeued job may begin when its old credential has expired, by default after two minutes
  cat >"$FOLDER/slurm.conf" <<EOF
ClusterName=one_node
SlurmctldHost=$NODE(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
AuthType=auth/munge
CredType=cred/munge
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool
SlurmctldPidFile=$FOLDER/slurmctld.pid
SlurmdPidFile=$FOLDER/slurmd.pid
SlurmctldLogFile=$FOLDER/slurmctld.log
SlurmdLogFile=$FOLDER/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2
SwitchType=switch/none
MpiDefault=none
KillWait=5
ReturnToService=2
NodeName=$NODE NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
  export SLURM_CONF="$FOLDER/slurm.conf"
  slurmctld && slurmd -N "$NODE"
  WAITED=0
  until sinfo --noheader --format=%T 2>/dev/null | grep -q idle; do
    WAITED=$((WAITED + 1))
    [ "$WAITED" -lt 60 ] || { echo "SLURM did not start; its logs are in $FOLDER" >&2; exit 1; }
    sleep 1
  done
  ;;
stop)
  for DAEMON in slurmd slurmctld; do
    [ ! -f "$2/$DAEMON.pid" ] || kill "$(cat "$2/$DAEMON.pid")"
  done
  ;;
*)
  echo "usage: sh one_node.sh start FOLDER [PORT] | stop FOLDER" >&2
  exit 2
  ;;
esac
