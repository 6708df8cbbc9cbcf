"""What every scenario has: one JSON object a line, and what counts as a failure."""

import json

import grpc
from spiffe.errors import PySpiffeError

CALL_SECONDS = 20


class Unexpected(Exception):
    """What should have come to pass did not."""


def say(**event):
    # One write: threads say things too.
    print(json.dumps(event) + "\n", end="", flush=True)


def refusal_of(call):
    try:
        call()
    except PySpiffeError as error:
        if isinstance(error.__cause__, grpc.RpcError):
            return error.__cause__.code().name
        raise
    raise Unexpected("not refused")
