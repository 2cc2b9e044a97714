"""The whole engine, simulated: workers in turns, faults, a month in a second or two, and promises that must hold."""
