//! The commands. Each reads its arguments, calls the library, and writes files; no mathematics lives here.

mod autoencode;
mod bench;
mod bound;
mod classifier;
mod data;
mod elbo;
mod figures;
mod impute;
mod info;
mod interpolate;
mod lab;
mod learn;
mod material;
mod model;
mod noise;
mod numbers;
mod progress;
mod quality;
mod runs;
mod sample;
mod say;
mod sharpen;
mod signals;
mod tables;
mod together;
mod train;

use crate::cli::say::note;
use crate::cli::together::Together;
use anyhow::Result;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;

/// Denoising diffusion probabilistic models from scratch
///
/// Without a command: `ddpm figures`.
#[derive(Parser)]
#[command(version, about, long_about, infer_subcommands = false)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Threads to use; results don't depend on it [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = numbers::whole(1..=1024))]
    threads: Option<usize>,
}

#[derive(Subcommand)]
enum Command {
    Figures(figures::Figures),
    Sample(sample::Sample),
    Elbo(elbo::ElboCommand),
    Interpolate(interpolate::Interpolate),
    Impute(impute::Impute),
    Info(info::Info),
    Train(train::Train),
    Autoencode(autoencode::Autoencode),
    Sharpen(sharpen::Sharpen),
    Noise(noise::NoiseLevels),
    Quality(quality::Quality),
    Lab(lab::Lab),
    Learn(learn::Learn),
    // no texts below: they would hide the long ones of the arguments
    Classifier(classifier::Classifier),
    Excerpt(figures::Excerpt),
    Bench(bench::Bench),
}

/// Parses the arguments, runs the command, and says what went wrong; returns the exit code.
pub(crate) fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> u8 {
    let matches = Arguments::command().get_matches_from(arguments);
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    let together = match Together::begin(arguments.command.as_ref().is_some_and(Command::shares)) {
        Ok(together) => together,
        Err(error) => return fail(format_args!("{}", sentence(&error))),
    };
    together.end(match dispatch(arguments, &matches) {
        Ok(()) => match say::lost() {
            None => 0,
            Some(error) => fail(format_args!("standard output: {error}")),
        },
        Err(error) => fail(format_args!("{}", sentence(&error))),
    })
}

impl Command {
    /// Whether several processes can share its work.
    fn shares(&self) -> bool {
        match self {
            Command::Train(_) | Command::Sample(_) | Command::Elbo(_) | Command::Impute(_) => true,
            Command::Bench(bench) => bench.shares(),
            _ => false,
        }
    }
}

/// What was being done, and what went wrong: the library's errors say themselves what caused them.
fn sentence(error: &anyhow::Error) -> String {
    let last = error.chain().position(|cause| cause.is::<ddpm::Error>()).unwrap_or(usize::MAX - 1);
    error.chain().take(last + 1).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn fail(error: std::fmt::Arguments) -> u8 {
    match together::ranks().size() {
        1 => note!("error: {error}"),
        _ => say::on_any_rank(format_args!("rank {}: error: {error}", together::ranks().rank())),
    }
    1
}

fn dispatch(arguments: Arguments, matches: &ArgMatches) -> Result<()> {
    ddpm::matmul::simd::Simd::detect()?;
    if let Some(threads) = arguments.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|e| ddpm::Error::argument("--threads", "a number of threads", e))?;
    }
    // without a command: `ddpm figures`, with the defaults that its arguments declare
    let figures = || Arguments::parse_from(["ddpm", "figures"]).command.expect("a command");
    match arguments.command.unwrap_or_else(figures) {
        Command::Figures(command) => command.run(),
        Command::Train(command) => {
            command.run(matches.subcommand_matches("train").expect("the command that was given"))
        }
        Command::Autoencode(command) => command.run(),
        Command::Sharpen(command) => command.run(),
        Command::Noise(command) => command.run(),
        Command::Lab(command) => command.run(),
        Command::Learn(command) => command.run(),
        Command::Sample(command) => command.run(),
        Command::Elbo(command) => command.run(),
        Command::Interpolate(command) => command.run(),
        Command::Impute(command) => command.run(),
        Command::Info(command) => command.run(),
        Command::Quality(command) => command.run(),
        Command::Classifier(command) => command.run(),
        Command::Excerpt(command) => command.run(),
        Command::Bench(command) => command.run(),
    }
}

#[cfg(test)]
mod tests;
