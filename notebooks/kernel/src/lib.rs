//! What the notebooks load, under the name `ddpm`: the crate itself, and what only a notebook needs.
//!
//! ```text
//! :dep ddpm = { package = "ddpm-notebook", path = "kernel" }
//! use ddpm::prelude::*;
//! ddpm::start();
//! ```
//!
//! It is a `dylib`. evcxr links every cell on its own; were the crate linked statically, each cell would have its
//! own copy of every static, and rayon would start another pool of threads in each.

#![allow(clippy::print_stdout)] // what a cell prints is its output
#![cfg_attr(test, allow(clippy::todo))] // what a student has not written yet

extern crate self as ddpm_notebook; // the name by which solutions know it

mod assignment;
pub mod check;
mod display;
mod doctor;
mod live;
mod plane;
mod speed;
mod stored;

pub use assignment::assign;
pub use ddpm::*;
pub use display::{Markdown, Table, layers, md};
pub use doctor::{Checkup, Finding, doctor, sick};
pub use live::LossPlot;
pub use plane::{PointNet, PointNetCache, arrows, as_batch, as_points, dots, energy_distance};
pub use speed::gflops;
pub use stored::{Stored, stored};

/// [`ddpm::prelude`], and how notebooks show tables, text, a speed and a loss that is still falling.
pub mod prelude {
    pub use crate::{
        LossPlot, Markdown, PointNet, Stored, Table, arrows, as_batch, as_points, assign, check, doctor,
        dots, energy_distance, gflops, layers, md, sick, stored,
    };
    pub use ddpm::prelude::*;
}

use std::any::Any;
use std::io::Write;
use std::sync::Once;

/// What a panic said.
fn message(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied())
}

/// Prepares a notebook; the first cell calls it.
///
/// evcxr reports a cell that panicked as a success. From now on a panic prints one line to the cell, and with
/// `NB_STRICT=1` ends the process, so that a run without a reader fails as well.
pub fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let strict = std::env::var_os("NB_STRICT").is_some_and(|value| value != "0");
        std::panic::set_hook(Box::new(move |info| {
            if check::in_check() {
                return; // the verdict says it
            }
            println!("⚠ panicked: {}", message(info.payload()).unwrap_or("no message"));
            let _ = std::io::stdout().flush(); // nothing to be done if the reader is gone
            if strict {
                std::process::exit(101);
            }
        }));
    });
}
