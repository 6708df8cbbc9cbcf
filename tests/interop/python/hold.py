"""Holds an X.509 source, and does with it what it is told, one command a line."""

import sys
from threading import Condition

from spiffe import X509Source

from events import CALL_SECONDS, Unexpected
from mtls import Calls
from svids import say_bundles, say_x509_svid


class Updates:
    """Counts what the source tells of, and waits for what was not asked for yet."""

    def __init__(self, source):
        self._changed = Condition()
        self._came = self._asked = 0
        source.subscribe_for_updates(self._count)

    def _count(self):
        with self._changed:
            self._came += 1
            self._changed.notify_all()

    def wait(self):
        with self._changed:
            self._changed.wait_for(lambda: self._came > self._asked)
            self._asked = self._came


def say_current(source):
    context = source.get_x509_context()
    say_x509_svid(context.default_svid, context.x509_bundle_set)


def hold():
    with X509Source(timeout_in_seconds=CALL_SECONDS) as source:
        updates, calls = Updates(source), Calls(source)
        say_current(source)
        for line in sys.stdin:
            match line.split():
                case ["svid"]:
                    say_current(source)
                case ["next"]:
                    updates.wait()
                    say_current(source)
                case ["bundles"]:
                    say_bundles()
                case ["listen", peer]:
                    calls.listen(peer)
                case ["call", address, peer]:
                    calls.begin(address, peer)
                case ["calls", count]:
                    calls.wait(int(count))
                case command:
                    raise Unexpected(f"no such command: {command}")
