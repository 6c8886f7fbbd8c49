#!/bin/bash
# Trains on 4 machines of 8 GPUs with sharded weights:  sbatch examples/slurm.sh
# The directory of --out must be one that all machines see. After a time limit or a lost machine, submit it again:
# the run goes on from its last checkpoint.
#SBATCH --job-name=sinew
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

srun torchrun \
    --nnodes "$SLURM_NNODES" --nproc-per-node 8 --max-restarts 3 \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:29500" \
    -m sinew train bc --data "$DATA" --optim.parallel fsdp2 --optim.precision bf16 --out "$OUT"
