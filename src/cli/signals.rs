//! Signals that ask a training to save and stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Lets Ctrl-C, a termination and the end of the session set a flag.
///
/// Under `nohup` the end of the session is ignored, and stays so. (Ctrl-C is not: a shell ignores it for whatever a script
/// puts into the background, where `kill -INT` is yet the usual way to end a training.)
pub(super) fn stop_on_signals(stop: &Arc<AtomicBool>) -> io::Result<()> {
    let flag = stop.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).map_err(io::Error::other)?;
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGTERM};
        signal_hook::flag::register(SIGTERM, stop.clone())?;
        if !hangup_is_ignored() {
            signal_hook::flag::register(SIGHUP, stop.clone())?;
        }
    }
    Ok(())
}

/// Whether whoever started this process had SIGHUP ignored.
///
/// Linux tells it in `/proc`. Elsewhere a process without a terminal to write to is taken for one under `nohup`: there a
/// hangup keeps what the system does at it.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    use std::io::IsTerminal;
    match std::fs::read_to_string("/proc/self/status") {
        Ok(status) => ignores_hangup(&status),
        Err(_) => !io::stderr().is_terminal(),
    }
}

/// Bit 0 of the mask of ignored signals is that of signal 1, SIGHUP.
#[cfg(unix)]
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(all(test, unix))]
mod tests {
    use super::ignores_hangup;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert!(ignores_hangup("Name:\tddpm\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n"));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!ignores_hangup("nothing of the kind"));
    }
}
