"""Who matches: the one meaning of conditions, executed as SQL for many and in memory for one with its reasons."""
