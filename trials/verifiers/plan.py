"""Verifies a plan token with PyJWT, as an auditor would, and compares the plan's hash."""
import base64, hashlib, json, sys

import jwt

facts = json.load(open(sys.argv[1]))
token, plan = facts["plan"]["token"], base64.b64decode(facts["plan"]["plan"])
header = jwt.get_unverified_header(token)
assert header["alg"] == "ES256" and header["typ"] == "palisade-plan+jwt", header
key = next(k for k in jwt.PyJWKSet.from_dict(facts["jwks"]).keys if k.key_id == header["kid"])
tenant = json.loads(plan)["tenant_id"]
audience = f"spiffe://palisade.internal/tenant/{tenant}/data-plane"
# The token of an execution that ended may have expired; everything else has to hold.
claims = jwt.decode(token, key, algorithms=["ES256"], audience=audience, issuer=facts["issuer"],
                    options={"verify_exp": False, "require": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"]})
assert claims["sub"] == tenant
assert claims["exp"] - claims["iat"] == 300
assert claims["plan_hash"] == hashlib.sha256(plan).hexdigest() == facts["plan_hash"]
assert claims["plan_len"] == len(plan)
try:
    jwt.decode(token[:-8] + "AAAAAAAA", key, algorithms=["ES256"], audience=audience, options={"verify_exp": False})
except jwt.InvalidSignatureError:
    print("ok")
else:
    sys.exit("a changed signature was accepted")
