//! The `ddpm` command: see [`cli`].
#![allow(non_snake_case)] // the paper's T

mod cli;

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os()).into()
}
