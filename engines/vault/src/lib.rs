//! The key hierarchy: file root -> keystore key -> tenant key per purpose -> sealed values.
//!
//! ```text
//! RootKey --HKDF-SHA256--> Keystore (KEK) --wraps--> DataKey per (owner, purpose, version)
//!                                                      |-- seal, open     AES-256-GCM-SIV, context as AAD
//!                                                      |-- blind_index    HMAC-SHA256
//!                                                      `-- subkey         HKDF-SHA256, for foreign ciphers
//! ```
//!
//! The owner, the purpose and the version of a key are bound to its wrapping, and the place of a value to its
//! sealing: nothing opens anywhere but where it was put. Nonces and key material are arguments; AES-GCM-SIV
//! (RFC 8452) keeps its promise short of "equal plaintexts look equal" even if a nonce comes twice.

mod context;
mod data_key;
mod keystore;
mod sealed;

pub use context::{Context, Owner, Purpose};
pub use data_key::DataKey;
pub use keystore::{Keystore, RootKey, WrappedKey};
pub use sealed::{NONCE_LENGTH, OVERHEAD, OpenError, key_version};
