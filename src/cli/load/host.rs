//! What the machine kept from the generator while it worked: a CPU quota, and time that was stolen.
//!
//! Owns where Linux tells of these. Elsewhere nothing is known, and nothing is said.
//!
//! Tests: below.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

/// What was kept from this process, up to some moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Withheld {
    /// For how long its group had used up its quota and had to wait.
    throttled: Option<Duration>,
    /// Time that the hypervisor gave to others, and all time, of all CPUs, in ticks.
    stolen: Option<(u64, u64)>,
}

/// What was kept from it during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Host {
    /// CPUs that its group may use; `null`: all there are, or not known.
    pub(crate) cpu_quota: Option<f64>,
    /// For how long its group had used up its quota and had to wait.
    pub(crate) throttled_seconds: Option<f64>,
    /// The share of the time of all CPUs that the hypervisor gave to others.
    pub(crate) stolen_share: Option<f64>,
}

impl Withheld {
    pub(super) fn now() -> Withheld {
        let stat = std::fs::read_to_string("/proc/stat").ok();
        Withheld {
            throttled: group_file("cpu.stat").and_then(|text| throttled(&text)),
            stolen: stat.and_then(|text| stolen(&text)),
        }
    }
}

impl Host {
    /// Between two moments.
    pub(super) fn between(before: Withheld, after: Withheld) -> Host {
        let throttled = after.throttled.zip(before.throttled);
        let share = |((stolen, all), (stolen_before, all_before)): ((u64, u64), (u64, u64))| {
            let all = all.saturating_sub(all_before).max(1) as f64;
            stolen.saturating_sub(stolen_before) as f64 / all
        };
        Host {
            cpu_quota: quota(),
            throttled_seconds: throttled
                .map(|(after, before)| after.saturating_sub(before).as_secs_f64()),
            stolen_share: after.stolen.zip(before.stolen).map(share),
        }
    }

    /// What is worth telling; nothing if nothing was kept from it.
    pub(crate) fn words(&self) -> Option<String> {
        let throttled = self.throttled_seconds.filter(|seconds| *seconds > 0.0);
        let quota = self.cpu_quota.map_or(String::new(), |cpus| {
            format!(" of {} CPUs", super::units::rate(cpus))
        });
        let throttled = throttled.map(|seconds| {
            let time = super::units::time(Duration::from_secs_f64(seconds));
            format!("its CPU quota{quota} stopped it for {time}")
        });
        let stolen = self.stolen_share.filter(|share| *share >= 0.01);
        let stolen = stolen.map(|share| {
            format!(
                "the hypervisor gave {:.0} % of the time to others",
                100.0 * share
            )
        });
        let words: Vec<String> = throttled.into_iter().chain(stolen).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// A file of the CPU controller of the group that this process is in, of version 2 or 1.
fn group_file(name: &str) -> Option<String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    group_folders(&groups)
        .into_iter()
        .find_map(|folder| std::fs::read_to_string(folder.join(name)).ok())
}

/// Where that group may stand. In a container the path is often that of the host, and the group is
/// the root of what can be seen.
fn group_folders(groups: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        let roots: &[&str] = if controllers.is_empty() {
            &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            &["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu"]
        } else {
            continue;
        };
        for root in roots.iter().map(Path::new) {
            folders.extend([root.join(path), root.to_owned()]);
        }
    }
    folders
}

/// `throttled_usec` of version 2, `throttled_time` of version 1, which is in nanoseconds.
fn throttled(text: &str) -> Option<Duration> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        let value = value.trim().parse().ok()?;
        match name {
            "throttled_usec" => Some(Duration::from_micros(value)),
            "throttled_time" => Some(Duration::from_nanos(value)),
            _ => None,
        }
    })
}

/// CPUs of the quota of the group.
fn quota() -> Option<f64> {
    if let Some(text) = group_file("cpu.max") {
        return quota_of(&text);
    }
    let [quota, period] = ["cpu.cfs_quota_us", "cpu.cfs_period_us"].map(group_file);
    quota_of(&format!("{} {}", quota?.trim(), period?.trim()))
}

/// `max 100000`, or `20000 100000`; version 1 says -1 for no quota.
fn quota_of(text: &str) -> Option<f64> {
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// Of the line of all CPUs: `cpu user nice system idle iowait irq softirq steal …` (proc(5)).
fn stolen(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    Some((*ticks.get(7)?, ticks.iter().sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_groups_are_read() {
        let v2 = "usage_usec 5\nnr_throttled 3\nthrottled_usec 250000\n";
        assert_eq!(throttled(v2), Some(Duration::from_millis(250)));
        let v1 = "nr_periods 5\nnr_throttled 3\nthrottled_time 250000000\n";
        assert_eq!(throttled(v1), Some(Duration::from_millis(250)));
        assert_eq!(throttled("usage_usec 5\n"), None);
        assert_eq!(quota_of("20000 100000\n"), Some(0.2));
        assert_eq!(
            (quota_of("max 100000"), quota_of("-1 100000")),
            (None, None)
        );
        let folders = group_folders("4:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/c\n");
        let first = |name: &str| folders.contains(&PathBuf::from(name));
        assert!(first("/sys/fs/cgroup/cpu,cpuacct/a") && first("/sys/fs/cgroup/c"));
        assert!(!folders.iter().any(|folder| folder.ends_with("b")));
    }

    #[test]
    fn a_share_is_that_of_the_run() {
        let stat = "cpu  10 0 20 60 0 0 0 10 0 0\ncpu0 1 2 3\n";
        assert_eq!(stolen(stat), Some((10, 100)));
        let at = |stolen, throttled| Withheld {
            throttled: Some(Duration::from_millis(throttled)),
            stolen: Some(stolen),
        };
        let host = Host::between(at((10, 100), 50), at((30, 200), 3250));
        assert_eq!(
            (host.stolen_share, host.throttled_seconds),
            (Some(0.2), Some(3.2))
        );
        let words = Host {
            cpu_quota: Some(0.2),
            ..host
        }
        .words()
        .unwrap();
        assert_eq!(
            words,
            "its CPU quota of 0.2 CPUs stopped it for 3.2 s; the hypervisor gave 20 % of the time \
             to others"
        );
        assert_eq!(Host::default().words(), None);
    }
}
