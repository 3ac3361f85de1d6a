//! What Linux says about the machine and this process; elsewhere nothing is known.

use std::fs;

/// The name of the CPU.
pub(super) fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = info.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(name.trim().to_string())
}

/// The most memory that was resident since [`forget_peak_memory`], in MiB.
pub(super) fn peak_memory() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0)
}

/// What is resident now is the most so far.
pub(super) fn forget_peak_memory() {
    // 5 stands for the peak in proc_pid_clear_refs(5); where it can't be written, the peak is that of the process
    let _ = fs::write("/proc/self/clear_refs", "5");
}
