#!/usr/bin/env bash
# A Slurm cluster on this machine alone: munged, slurmctld, and two slurmd with a core each, on loopback.
#   tests/slurm_cluster.sh start FOLDER     writes FOLDER/slurm.conf, starts the daemons, waits for the nodes
#   tests/slurm_cluster.sh stop FOLDER      ends them
# Needs root, and Debian's slurmctld, slurmd, slurm-client and munge. Nothing outside FOLDER is read or written.
set -euo pipefail
what=$1
mkdir -p "$2"
folder=$(realpath "$2")
export SLURM_CONF=$folder/slurm.conf

end() { # the process of a pid file
  if [ -f "$1" ]; then kill "$(cat "$1")" 2>/dev/null || true; fi
}

if [ "$what" = stop ]; then
  scancel --full --signal=KILL --user=root 2>/dev/null || true
  scancel --user=root 2>/dev/null || true
  for _ in $(seq 100); do # a step that has lost its controller would never end
    if [ -z "$(squeue --noheader 2>/dev/null)" ]; then break; fi
    sleep 0.2
  done
  for name in kit1 kit2 slurmctld munged; do end "$folder/$name.pid"; done
  exit
fi

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > "$SLURM_CONF" <<CONF
ClusterName=kit
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=15
OverTimeLimit=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=kit1 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=1 State=UNKNOWN
NodeName=kit2 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=1 State=UNKNOWN
PartitionName=main Nodes=kit1,kit2 Default=YES MaxTime=INFINITE State=UP
CONF

mkdir -p "$folder/state" "$folder/kit1" "$folder/kit2"
chmod 755 "$folder"
head -c 1024 /dev/urandom > "$folder/munge.key"
chmod 600 "$folder/munge.key"
/usr/sbin/munged --force --key-file="$folder/munge.key" --socket="$folder/munge.sock" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" --num-threads=1
/usr/sbin/slurmctld -c
/usr/sbin/slurmd -N kit1
/usr/sbin/slurmd -N kit2
for _ in $(seq 100); do
  if [ "$(sinfo --noheader --Node --format='%T' 2>/dev/null | grep -c idle)" = 2 ]; then exit; fi
  sleep 0.2
done
sinfo --Node --long
tail -n 20 "$folder"/*.log
exit 1
