#!/bin/sh
# A protocol of two jobs on a real SLURM, of which one is preempted: it is requeued, goes on from its last checkpoint, and
# both finish. From the root of the repository, as root (see one_node.sh):
#   sh tests/protocol/slurm/requeue.sh
set -eu
FOLDER=$(mktemp -d)
trap 'sh tests/protocol/slurm/one_node.sh stop "$FOLDER/slurm"' EXIT
sh tests/protocol/slurm/one_node.sh start "$FOLDER/slurm"
export SLURM_CONF="$FOLDER/slurm/slurm.conf"
sinfo

threedzal data generate "$FOLDER/data" --classes cone,ring,twisted_strand --size 112 --train 6 --validation 2 \
  --test_good 2 --test_per_defect 1
cat >"$FOLDER/two_jobs.yaml" <<EOF
title: Two jobs
methods: {3DzAL: {configs: configs/demo.yaml}}
train: [cone]
test: [ring, twisted_strand]
overrides: [--data.root=$FOLDER/data, --data.image_size=112, --data.cache_dir=$FOLDER/cache, --report.enabled=false,
  --trainer.max_epochs=12, --data.num_workers=0, --data.pseudo_scans=2]
out: $FOLDER/out
tables: [{layout: pairs, of: 3DzAL, metrics: [aupro_0.3]}]
slurm: {timeout_min: 60, cpus_per_task: 1}
EOF
threedzal protocol run "$FOLDER/two_jobs.yaml" --launcher slurm
JOB=$(squeue --noheader --array --format=%i | sort | head -n 1)

echo "== waiting for the first checkpoint of $JOB"
until ls "$FOLDER"/out/jobs/*-cone-ring-*/fit/checkpoints/last.ckpt 2>/dev/null; do sleep 2; done
echo "== preempting $JOB, by the signal that SLURM sends before it takes a node away"
scancel --signal=USR2 "$JOB"
sleep 3
squeue --array
threedzal protocol status "$FOLDER/two_jobs.yaml"

echo "== waiting for the end"
while [ -n "$(squeue --noheader)" ]; do sleep 5; done
threedzal protocol status "$FOLDER/two_jobs.yaml" --all
echo "== processes of the preempted job: the first fit has no end, the second went on from its checkpoint"
cat "$FOLDER"/out/jobs/*-cone-ring-*/attempts.json
grep -o -- "--ckpt_path .*last.ckpt" "$FOLDER"/out/jobs/*-cone-ring-*/log.txt
threedzal protocol table "$FOLDER/two_jobs.yaml"
threedzal protocol status "$FOLDER/two_jobs.yaml" | grep -q "2 jobs, 2 done"
