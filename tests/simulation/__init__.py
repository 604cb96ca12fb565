"""A deterministic simulation of a training job: the real coordinator, pool, optimisers and checkpoint store among faults.

Real: `Coordinator`, `TransportPool`, `Assignment`, `Reduction`, `ShardWorker` and its kernel, `Objective`, the optimisers, the
stopping rules, `JobCheckpoints`, `CheckpointStore`, `array_file` and `atomic_files`. Simulated: the clock, the workers' processes
and links (`workers.py`), and the disk below `os` (`disk.py`). A seed decides everything: what is trained, on how many workers,
which kinds of faults there are, how often, and when each happens (`plan.py`).

    python -m simulation --seeds 10000      run schedules
    python -m simulation --seed 17 --trace  run one, and tell all that happened
    python -m simulation --mutants          plant bugs, and see that each is found
"""
