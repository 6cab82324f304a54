//! Signs and verifies: ES256 plan tokens, Ed25519 envelopes, JWKS rotation.
