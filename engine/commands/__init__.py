"""The commands behind `homing`, grouped by what they are for: each parses, makes one engine call, and prints."""
