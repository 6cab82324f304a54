//! The key hierarchy: root, tenant keys, envelopes and blind indexes.
