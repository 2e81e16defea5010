//! Where a run was measured: a number without its machine is worth little.

use serde::Serialize;

/// A machine.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) processors: usize,
    pub(super) system: String,
    pub(super) kernel: String,
}

impl Machine {
    pub(super) fn this() -> Machine {
        let name = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        Machine {
            processor: processor().unwrap_or_else(|| text(name.machine())),
            processors: processors(),
            system: text(name.sysname()),
            kernel: text(name.release()),
        }
    }
}

/// Processors of the machine, also those that this process may not use: the target may run there.
pub(super) fn processors() -> usize {
    let listed = std::fs::read_to_string("/proc/cpuinfo").map_or(0, |text| {
        text.lines()
            .filter(|line| line.starts_with("processor"))
            .count()
    });
    listed.max(std::thread::available_parallelism().map_or(1, usize::from))
}

/// Its name, where the system tells it.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
