//! The HTTP contract: routes, bodies, problem codes, OpenAPI.
