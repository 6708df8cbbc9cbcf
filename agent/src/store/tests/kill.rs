//! Kill -9 at any instant.
