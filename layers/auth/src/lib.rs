//! Admits requests by their token.
