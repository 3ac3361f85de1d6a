//! The paper's mathematics; knows no network.
