"""Verifies the audit log with hashlib and PyNaCl: the signed checkpoint (C2SP signed-note and tlog-checkpoint), the
RFC 6962 root over the sealed leaves, and the proof that one entry is among them."""
import base64, hashlib, json, sys

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

ED25519 = b"\x01"


def sha256(data):
    return hashlib.sha256(data).digest()


def leaf_hash(leaf):
    return sha256(b"\x00" + leaf)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


def root_over(hashes):
    """RFC 6962 section 2.1, as it stands there."""
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(root_over(hashes[:split]), root_over(hashes[split:]))


def root_by_proof(hash, index, size, proof):
    """The root that an inclusion proof leads to (RFC 6962 section 2.1.1), from the leaf up."""
    if size == 1:
        return hash if not proof else None
    if not proof:
        return None
    split = 1
    while split * 2 < size:
        split *= 2
    *below, sibling = proof
    if index < split:
        left = root_by_proof(hash, index, split, below)
        return left and node_hash(left, sibling)
    right = root_by_proof(hash, index - split, size - split, below)
    return right and node_hash(sibling, right)


def open_note(note, verifier_key):
    """The text of a note that `verifier_key` signed."""
    name, key_id, encoded = verifier_key.split("+", 2)
    typed_key = base64.b64decode(encoded, validate=True)
    assert typed_key[:1] == ED25519, "not an Ed25519 key"
    if sha256(name.encode() + b"\n" + typed_key)[:4].hex() != key_id:
        sys.exit("the key is not what its id says")
    text, signatures = note.rsplit("\n\n", 1)
    for line in signatures.splitlines():
        dash, signer, encoded = line.split(" ")
        signature = base64.b64decode(encoded, validate=True)
        if (dash, signer, signature[:4].hex()) != ("\u2014", name, key_id):
            continue
        try:
            VerifyKey(typed_key[1:]).verify((text + "\n").encode(), signature[4:])
        except BadSignatureError:
            break
        return name, text
    sys.exit("the note is not signed by this key")


facts = json.load(open(sys.argv[1]))
name, text = open_note(facts["note"], facts["verifier_key"])
origin, size, root = text.split("\n")[:3]
size, root = int(size), base64.b64decode(root, validate=True)
assert origin == name, "the checkpoint is of another log"
leaves = [leaf_hash(base64.b64decode(leaf, validate=True)) for leaf in facts["leaves"]]
if len(leaves) != size:
    sys.exit("the log is not as long as it was signed")
if root_over(leaves) != root:
    sys.exit("the leaves do not lead to the signed root")
entry, proof = facts["entry"], [bytes.fromhex(hash) for hash in facts["proof"]]
if leaves[entry["index"]].hex() != entry["leaf"]:
    sys.exit("the entry is not the leaf at its place")
if root_by_proof(leaves[entry["index"]], entry["index"], size, proof) != root:
    sys.exit("the proof does not lead to the signed root")
print("ok")
