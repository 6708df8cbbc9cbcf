"""Drives an agent with the stock Python SPIFFE library. See ../README.md for the scenarios."""

import queue
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import jwt
from spiffe import JwtSource, JwtSvid, WorkloadApiClient
from spiffe.errors import PySpiffeError

import svids
from events import CALL_SECONDS, Unexpected, refusal_of, say
from hold import hold


def say_svid(svid):
    header = jwt.get_unverified_header(svid.token)
    claims = jwt.decode(svid.token, options={"verify_signature": False})
    say(
        event="svid",
        spiffe_id=str(svid.spiffe_id),
        jti=claims.get("jti"),
        exp=claims["exp"],
        kid=header["kid"],
        audience=sorted(svid.audience),
    )


def validate(client, source, svid, audience):
    bundle = source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    if bundle is None:
        raise Unexpected(f"no bundle of {svid.spiffe_id.trust_domain}")
    local = JwtSvid.parse_and_validate(svid.token, bundle, {audience})
    remote = client.validate_jwt_svid(svid.token, audience, timeout=CALL_SECONDS)
    if not local.spiffe_id == remote.spiffe_id == svid.spiffe_id:
        raise Unexpected("the validated SPIFFE IDs differ")


def fetch(audience, times=1):
    with WorkloadApiClient() as client, JwtSource(timeout_in_seconds=CALL_SECONDS) as source:
        for _ in range(times):
            svid = client.fetch_jwt_svid({audience}, timeout=CALL_SECONDS)
            validate(client, source, svid, audience)
            say_svid(svid)


def fetch_twice(audience):
    fetch(audience, times=2)


def fetch_all(audience):
    with WorkloadApiClient() as client, JwtSource(timeout_in_seconds=CALL_SECONDS) as source:
        for svid in client.fetch_jwt_svids({audience}, timeout=CALL_SECONDS):
            validate(client, source, svid, audience)
            say_svid(svid)


def fetch_together(audience, count):
    start = Barrier(int(count))
    with (
        WorkloadApiClient() as client,
        JwtSource(timeout_in_seconds=CALL_SECONDS) as source,
        ThreadPoolExecutor(int(count)) as threads,
    ):

        def one(_):
            start.wait(CALL_SECONDS)
            svid = client.fetch_jwt_svid({audience}, timeout=CALL_SECONDS)
            validate(client, source, svid, audience)
            return svid

        for svid in threads.map(one, range(int(count))):
            say_svid(svid)


def refused(audience):
    with WorkloadApiClient() as client:
        code = refusal_of(lambda: client.fetch_jwt_svid({audience}, timeout=CALL_SECONDS))
        say(event="refused", code=code)


def refused_validation(audience, other):
    with WorkloadApiClient() as client, JwtSource(timeout_in_seconds=CALL_SECONDS) as source:
        svid = client.fetch_jwt_svid({audience}, timeout=CALL_SECONDS)
        bundle = source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
        try:
            JwtSvid.parse_and_validate(svid.token, bundle, {other})
        except PySpiffeError:
            pass
        else:
            raise Unexpected("the library took a token for another audience")
        code = refusal_of(lambda: client.validate_jwt_svid(svid.token, other, timeout=CALL_SECONDS))
        say(event="refused", code=code)


def watch(count, seconds="30"):
    updates = queue.Queue()
    with WorkloadApiClient() as client:
        stream = client.stream_jwt_bundles(updates.put, updates.put)
        try:
            for _ in range(int(count)):
                update = updates.get(timeout=float(seconds))
                if isinstance(update, Exception):
                    raise update
                say(
                    event="bundle",
                    trust_domains=sorted(str(bundle.trust_domain) for bundle in update.bundles),
                    kids=sorted(kid for bundle in update.bundles for kid in bundle.jwt_authorities),
                )
        except queue.Empty:
            raise Unexpected(f"no further bundle in {seconds} seconds") from None
        finally:
            stream.cancel()


SCENARIOS = {
    "fetch": fetch,
    "fetch-twice": fetch_twice,
    "fetch-all": fetch_all,
    "fetch-together": fetch_together,
    "refused": refused,
    "refused-validation": refused_validation,
    "watch": watch,
    "x509-fetch": svids.fetch,
    "x509-refused": svids.refused,
    "x509-hold": hold,
}


def main():
    scenario = SCENARIOS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if scenario is None:
        print(f"usage: {sys.argv[0]} {'|'.join(SCENARIOS)} [ARGUMENT...]", file=sys.stderr)
        return 2
    try:
        scenario(*sys.argv[2:])
    except (PySpiffeError, Unexpected) as error:
        say(event="error", what=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
