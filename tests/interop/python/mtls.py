"""Requests to a peer and of it, each on a connection with a handshake of its own.

The library gives a source and leaves TLS to its user: here the `ssl` module, with contexts made anew from
what the source holds, and the peer's SPIFFE ID checked by hand.
"""

import os
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition, Thread

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from events import Unexpected, say
from svids import authority_of, hex_of

PACE_SECONDS = 0.05
ONE_CALL_SECONDS = 20
QUESTION, AGREEMENT = b"ping\n", b"pong\n"


@contextmanager
def file_of(svid):
    """The key and the chain as the file that `ssl` insists on: one that never reaches a disk."""
    key = svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = [certificate.public_bytes(Encoding.PEM) for certificate in svid.cert_chain]
    descriptor = os.memfd_create("svid")
    try:
        os.write(descriptor, b"".join([key, *chain]))
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def context_of(source, protocol):
    """What the source holds now, as one SVID with the bundle that came with it."""
    held = source.get_x509_context()
    svid = held.default_svid
    bundle = held.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A SPIFFE ID says who the peer is, no host name.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(
        cadata="".join(authority.public_bytes(Encoding.PEM).decode() for authority in bundle.x509_authorities)
    )
    with file_of(svid) as path:
        context.load_cert_chain(path)
    return context, svid.leaf


def check_peer(connection, peer):
    """Exactly one URI, and that it is the peer's SPIFFE ID (X509-SVID, sections 2 and 5.2)."""
    names = connection.getpeercert().get("subjectAltName", ())
    ids = [name for kind, name in names if kind == "URI"]
    if ids != [peer]:
        raise Unexpected(f"the peer is {ids}")
    return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))


def line_of(connection):
    with connection.makefile("rb") as lines:
        return lines.readline()


def identity_of(leaf):
    return {"serial": hex_of(leaf.serial_number), "authority": authority_of(leaf)}


class Calls:
    def __init__(self, source):
        self._source = source
        self._changed = Condition()
        self._answered = 0
        self._last = None
        self._failure = None

    def _fail(self, what, error):
        with self._changed:
            # The first thing that went wrong, on either side.
            self._failure = self._failure or Unexpected(f"{what}: {type(error).__name__}: {error}")
            self._changed.notify_all()

    def listen(self, peer):
        """Answers the requests of `peer`, and of nobody else."""
        listener = socket.create_server(("127.0.0.1", 0))
        host, port = listener.getsockname()

        def accept():
            with ThreadPoolExecutor(4) as threads:
                try:
                    while True:
                        connection, _ = listener.accept()
                        threads.submit(self._answer, connection, peer)
                except Exception as error:
                    self._fail("accepting", error)

        Thread(target=accept, daemon=True).start()
        say(event="listening", address=f"{host}:{port}")

    def _answer(self, accepted, peer):
        try:
            accepted.settimeout(ONE_CALL_SECONDS)
            context, _ = context_of(self._source, ssl.PROTOCOL_TLS_SERVER)
            with accepted, context.wrap_socket(accepted, server_side=True) as connection:
                check_peer(connection, peer)
                asked = line_of(connection)
                if asked != QUESTION:
                    raise Unexpected(f"asked {asked}")
                connection.sendall(AGREEMENT)
        except Exception as error:
            self._fail("answering", error)

    def begin(self, address, peer):
        """Asks `peer` at `address` again and again from now on."""
        host, port = address.split(":")

        def ask():
            due = time.monotonic()
            try:
                while True:
                    self._count(self._call((host, int(port)), peer))
                    # The pace of the requests; what took longer is not made up for.
                    due += PACE_SECONDS
                    late = time.monotonic() - due
                    if late < 0:
                        time.sleep(-late)
                    else:
                        due += late
            except Exception as error:
                self._fail("calling", error)

        Thread(target=ask, daemon=True).start()
        say(event="calling")

    def _count(self, call):
        with self._changed:
            self._answered += 1
            self._last = call
            self._changed.notify_all()

    def _call(self, address, peer):
        """One request with what the source holds now; who was on the two sides."""
        context, own = context_of(self._source, ssl.PROTOCOL_TLS_CLIENT)
        with (
            socket.create_connection(address, ONE_CALL_SECONDS) as raw,
            context.wrap_socket(raw) as connection,
        ):
            leaf = check_peer(connection, peer)
            connection.sendall(QUESTION)
            told = line_of(connection)
            if told != AGREEMENT or connection.session_reused:
                raise Unexpected(f"{told} is not the answer to a new handshake")
            return {"own": identity_of(own), "peer": identity_of(leaf)}

    def wait(self, count):
        """Answers when so many further requests of ours have been answered and nothing has failed."""
        with self._changed:
            enough = self._answered + count
            self._changed.wait_for(lambda: self._answered >= enough or self._failure)
            if self._failure:
                raise self._failure
            say(event="calls", answered=self._answered, **self._last)
