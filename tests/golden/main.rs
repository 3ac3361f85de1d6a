//! The crate against reference files made by independent programs, which README.md beside this file describes. One
//! program, for seven would each be linked and read the same files.

#![allow(non_snake_case)] // x_T is the paper's name
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod autoencoder;
#[path = "../common/mod.rs"]
mod common;
mod conditions;
mod diffusion;
mod ideas;
mod layers;
mod levels;
mod network;
mod noise;
mod v;
