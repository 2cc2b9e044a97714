"""Runtime: where the stages meet. A pass looks once at everything that is new or due; ticks and the daemon repeat it."""
