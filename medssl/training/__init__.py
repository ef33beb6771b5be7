"""Lightning's side: loaders, optimiser, schedules, checkpoints, callbacks."""
