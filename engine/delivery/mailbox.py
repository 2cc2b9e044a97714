"""The local mailbox: every mail becomes a file in a Maildir.

The default while a shop is in its sandbox, for demos, and the witness of the crash tests. A mail is written to `tmp`,
flushed to the disk and renamed into `new`, so that a reader sees it whole or not at all. The file is named after the
message key with a number behind it: a mail handed over twice is two files, never one that hides the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from engine.delivery.addresses import UnsafeMail
from engine.delivery.mime import to_bytes
from engine.delivery.options import Options
from engine.delivery.outcome import Accepted, Failed, Outcome, Retry, Unknown
from engine.render.mail import Mail

_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


class MailboxProvider:
    """Writes mails into the Maildir at `path`; `durable` waits until the disk has them."""

    name = "mailbox"

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        self._durable = durable

    def __repr__(self) -> str:
        return f"MailboxProvider({str(self._path)!r})"

    @classmethod
    def from_options(cls, options: Options) -> MailboxProvider:
        """Read `path` (default `mailbox` in the project) and `durable` (default true)."""
        provider = cls(options.path("path", "mailbox"), durable=options.flag("durable", default=True))
        options.done()
        return provider

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Write each mail to a file of its own; `provider_id` is the file's name."""
        try:
            self._make_folders()
        except OSError as error:
            return [Retry(f"the mailbox cannot be written: {error.strerror}", setup=True) for _ in mails]
        outcomes = [self._hand_over_one(mail) for mail in mails]
        try:
            self._flush_folder()
        except OSError as error:
            doubt = Unknown(f"the disk did not confirm the mailbox: {error.strerror}")
            return [doubt if isinstance(outcome, Accepted) else outcome for outcome in outcomes]
        return outcomes

    def check(self) -> list[str]:
        """Return what keeps the Maildir from being written."""
        try:
            self._make_folders()
        except OSError as error:
            return [f"the mailbox {self._path} cannot be written: {error.strerror}"]
        return [] if os.access(self._path / "new", os.W_OK) else [f"the mailbox {self._path} is not writable"]

    def close(self) -> None:
        """Nothing is held open between hand-overs."""

    def _make_folders(self) -> None:
        for folder in ("tmp", "new", "cur"):
            (self._path / folder).mkdir(parents=True, exist_ok=True)

    def _hand_over_one(self, mail: Mail) -> Outcome:
        try:
            content = to_bytes(mail, metadata_headers=True)
        except UnsafeMail as refusal:
            return Failed(str(refusal), suppress=refusal.address_is_bad)
        try:
            return Accepted(self._write(mail, content))
        except OSError as error:
            # Nothing was renamed yet: the mail is not in `new`.
            return Retry(f"the mailbox cannot be written: {error.strerror}")

    def _write(self, mail: Mail, content: bytes) -> str:
        name, descriptor = self._reserve(f"{int(mail.date.timestamp())}.{_file_key(mail.key)}")
        temporary = self._path / "tmp" / name
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                if self._durable:
                    os.fsync(descriptor)
            temporary.rename(self._path / "new" / name)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return name

    def _reserve(self, stem: str) -> tuple[str, int]:
        """Open the first free name in `tmp`, which keeps every other process from using it.

        The look into `new` comes after the opening: whoever renamed a file of this name did it before.
        """
        number = 0
        while True:
            number += 1
            name = f"{stem}.{number}.homing"
            temporary = self._path / "tmp" / name
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            if not (self._path / "new" / name).exists():
                return name, descriptor
            os.close(descriptor)
            temporary.unlink(missing_ok=True)

    def _flush_folder(self) -> None:
        if not self._durable or not hasattr(os, "O_DIRECTORY"):
            return
        descriptor = os.open(self._path / "new", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _file_key(key: str) -> str:
    """Return the key as a part of a file name, still different for different keys."""
    safe = _UNSAFE_IN_NAMES.sub("_", key)[:120]
    return (
        safe
        if safe == key
        else f"{safe}-{blake2b(key.encode('utf-8', 'replace'), digest_size=6).hexdigest()}"
    )
