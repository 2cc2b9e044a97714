"""The local mailbox: whole files or none, and a name for each that tells the message."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from engine.delivery.mailbox import MailboxProvider
from engine.delivery.outcome import Accepted, Outcome, Retry, Unknown
from tests.unit.delivery.test_mime import MAIL


def _names(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "new").iterdir())


def _one(provider: MailboxProvider) -> Outcome:
    (outcome,) = provider.hand_over([MAIL])
    return outcome


def test_files_are_named_after_their_message(tmp_path: Path) -> None:
    """A message handed over twice is two files that share its key; strange keys stay different."""
    provider = MailboxProvider(tmp_path)
    keys = ["e1-thanks-0", "e1-thanks-0", "a/b", "a:b", "../../etc/passwd", "k" * 300]
    outcomes = provider.hand_over([replace(MAIL, key=key) for key in keys])
    names = [outcome.provider_id for outcome in outcomes if isinstance(outcome, Accepted)]
    assert sorted(names) == _names(tmp_path)
    assert len(names) == len(set(names)) == 6
    assert names[:2] == ["1774769400.e1-thanks-0.1.homing", "1774769400.e1-thanks-0.2.homing"]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_crash_leaves_nothing_that_looks_like_a_mail(tmp_path: Path) -> None:
    """A file half written by a process that died stays in `tmp` and hides no later mail."""
    provider = MailboxProvider(tmp_path)
    assert provider.check() == []
    (tmp_path / "tmp" / "1774769400.e1_thanks_0-x.1.homing").write_bytes(b"From: half")
    left = MailboxProvider(tmp_path)
    first = _one(left)
    assert isinstance(first, Accepted)
    assert _names(tmp_path) == [first.provider_id]


@pytest.mark.parametrize(("failing", "expected"), [("write", Retry), ("rename", Retry), ("folder", Unknown)])
def test_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, expected: type[Outcome]
) -> None:
    """Before the renaming a failure is a sure no and leaves nothing behind; after it nobody knows."""
    provider = MailboxProvider(tmp_path)
    sync, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if (failing, len(calls)) in (("write", 1), ("folder", 2)):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    if failing == "rename":
        monkeypatch.setattr(Path, "rename", rename)
    outcome = _one(provider)
    assert isinstance(outcome, expected)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert len(_names(tmp_path)) == (failing == "folder")


def test_durability_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `durable` no mail waits for the disk: for demos only."""
    monkeypatch.setattr(os, "fsync", None)
    assert isinstance(_one(MailboxProvider(tmp_path, durable=False)), Accepted)
