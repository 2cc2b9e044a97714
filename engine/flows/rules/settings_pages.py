"""The manual pages of what `engine.settings` finds in `homing.toml`, which is read before there are any rules."""

from __future__ import annotations

from engine.flows.manual import write_page

write_page(
    "S101", "not-toml", "error",
    """The settings are no TOML, so nothing in them can be read.

    Text stands in double quotes, lists in brackets, and each key has one line.

    Before:

        name = Kiyomi Tea

    After:

        name = "Kiyomi Tea"
    """,
)  # fmt: skip
write_page(
    "S102", "setting-of-another-shape", "error",
    """A setting has another shape than it needs: a number instead of text, text instead of a list.

    Before:

        caps = "1 per 16h"

    After:

        caps = ["1 per 16h"]
    """,
)  # fmt: skip
write_page(
    "S103", "unreadable-setting", "error",
    """A duration, cap, share, stretch of hours or colour that cannot be read.

    Durations are `24h` or `7d`, caps `1 per 16h`, shares `5%`, quiet hours `21:00-08:00`, colours `#2f5d50`.

    Before:

        quiet_hours = "at night"

    After:

        quiet_hours = "21:00-08:00"
    """,
)  # fmt: skip
write_page(
    "S104", "unknown-setting", "error",
    """A section or key of the settings has no meaning.

    A misspelt `quiet_hours` would otherwise let mails go out at night. `homing schema settings` lists all of them.

    Before:

        [policy]
        quite_hours = "21:00-08:00"

    After:

        [policy]
        quiet_hours = "21:00-08:00"
    """,
)  # fmt: skip
write_page(
    "S105", "unknown-time-zone", "error",
    """The shop's time zone is none.

    Names are those of the IANA database, as in `Europe/Berlin`, `Asia/Tokyo` or `UTC`.

    Before:

        timezone = "Berlin"

    After:

        timezone = "Europe/Berlin"
    """,
)  # fmt: skip
write_page(
    "S106", "unknown-mode", "error",
    """The delivery's mode is neither `sandbox` nor `live`.

    In sandbox mails go into the local mailbox only; live sends them.

    Before:

        mode = "production"

    After:

        mode = "live"
    """,
)  # fmt: skip
