"""Asks a control plane for names over HTTPS with dnspython, as a data plane; says what it is told."""
import json, ssl, sys

import dns.flags, dns.message, dns.query, dns.rcode, dns.rdatatype

given = json.load(open(sys.argv[1]))
tls = ssl.create_default_context(cafile=given["ca"])
tls.load_cert_chain(given["identity"])
told = []
for name, kind, way in given["asked"]:
    query = dns.message.make_query(name, kind, use_edns=0 if "edns" in way else -1)
    query.id = 0
    # The address keeps dnspython from resolving the URL's own host.
    answer = dns.query.https(
        query, given["url"], timeout=60, post="post" in way, verify=tls, bootstrap_address="127.0.0.1"
    )
    assert answer.flags & dns.flags.QR and answer.flags & dns.flags.RA, answer
    assert (answer.edns >= 0) == ("edns" in way), answer
    records = [
        f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {record}"
        for rrset in answer.answer
        for record in sorted(rrset, key=str)
    ]
    told.append([dns.rcode.to_text(answer.rcode()), records])
print(json.dumps(told))
