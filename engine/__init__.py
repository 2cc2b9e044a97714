"""Homing: lifecycle email as code.

Data flows one way: facts → audience → journeys → render → outbox → delivery → feedback.
`ARCHITECTURE.md` is the map; each package below holds one stage.
"""

__version__ = "0.1.0"
