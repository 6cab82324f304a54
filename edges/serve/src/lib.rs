//! TLS 1.3 listeners and clients, accept loop, request context, problem+json.
