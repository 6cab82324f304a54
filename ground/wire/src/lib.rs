//! Documents that cross planes, as types and exact bytes.
