//! Who may do what: the one room that grants permits.
