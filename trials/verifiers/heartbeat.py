"""Verifies stored heartbeats with PyNaCl: signature over the DSSE encoding, chain, counters, totals."""
import base64, hashlib, json, sys

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

facts = json.load(open(sys.argv[1]))
keys = {s["id"]: VerifyKey(base64.b64decode(s["public_key"])) for s in facts["sidecars"]}
last = {}
beats = sorted(facts["heartbeats"], key=lambda b: (b["sidecar"], b["counter"]))
assert beats, "no heartbeat"
for beat in beats:
    envelope = beat["envelope"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
    assert len(signature) == 64
    key = keys[beat["sidecar"]]
    key.verify(signed, signature)
    for at in range(0, len(signed), 37):
        spoilt = bytearray(signed)
        spoilt[at] ^= 1
        try:
            key.verify(bytes(spoilt), signature)
        except BadSignatureError:
            continue
        sys.exit("a changed heartbeat was accepted")
    sworn = json.loads(payload)
    before = last.get(beat["sidecar"])
    if before:
        assert sworn["counter"] == before[0] + 1 and sworn["prev"] == before[1], sworn
        assert all(sworn["totals"][u] >= before[2][u] for u in sworn["totals"])
    last[beat["sidecar"]] = (sworn["counter"], hashlib.sha256(payload).hexdigest(), sworn["totals"])
print("ok")
