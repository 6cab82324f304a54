//! The command line: speaks the API only.
