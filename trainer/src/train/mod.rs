//! Training: parameters, optimiser, schedules, the loop, checkpoints.
