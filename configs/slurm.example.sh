#!/bin/bash
# sbatch configs/slurm.example.sh CONFIG.yaml [key=value...]: two hosts of eight GPUs, over as many time limits as the run needs.
#SBATCH --job-name=zerokl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append

# Ten minutes before the limit this script gets SIGUSR1. mpirun passes it to the workers, which write a checkpoint and leave with exit code 3.
mpirun --bind-to none build/zerokl train "$@" &
job=$!
trap 'kill -USR1 "$job"' USR1
code=0
wait "$job" || code=$?
[ $code -le 128 ] || { code=0; wait "$job" || code=$?; } # the trap interrupts a wait
# Only a stop that was asked for is started again; it goes on from the checkpoint.
[ $code -ne 3 ] || exec scontrol requeue "$SLURM_JOB_ID"
exit $code
