//! Logs of HdrHistogram: the histogram of each second, in the format that its viewers and other
//! libraries read.
//!
//! Owns the form of the log. Times are in nanoseconds, and the maximum that stands beside each
//! histogram is in milliseconds. Histograms without a tag are response times; those with the tag
//! `service` are service times. A message that was not answered stands among them with
//! [`Times::LONGEST`], so that no reader's percentiles leave it out; how long it was waited for
//! stands under the tags `unanswered` and `service-unanswered`. What a log has no place for
//! (errors, the rate) stands in comments, which other readers pass over.

use std::io::{self, BufWriter, Write};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use mynah::Escaped;
use mynah::load::{Distribution, Tally, Times};

use super::page::Interval;
use super::record::{Record, Second};

/// The tag of service times.
const SERVICE: &str = "service";

/// The tags of the times that was waited for what was not answered.
const UNANSWERED: &str = "unanswered";
const SERVICE_UNANSWERED: &str = "service-unanswered";

/// What stands before the counts in their comment.
const COUNTS: &str = "mynah counts: ";

/// What stands before the name of the run in its comment.
const LABEL: &str = "mynah label: ";

/// A log being written.
#[derive(Debug)]
pub(crate) struct Writer<W: Write> {
    file: BufWriter<W>,
    comment: String,
    has_header: bool,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(file: W, what: &str) -> Writer<W> {
        let comment = format!(
            "mynah {}, {what}; times in ns, maxima in ms",
            env!("CARGO_PKG_VERSION")
        );
        Writer {
            file: BufWriter::new(file),
            comment,
            has_header: false,
        }
    }

    /// The same; the run has this name.
    pub(crate) fn with_label(mut self, label: Option<&str>) -> Writer<W> {
        if let Some(label) = label {
            self.comment = format!("{}\n{LABEL}{label}", self.comment);
        }
        self
    }

    /// Writes a second.
    pub(crate) fn write(&mut self, second: &Second, tally: &Tally) -> io::Result<()> {
        self.write_interval(
            second.started,
            second.at,
            second.length,
            &tally.response,
            &tally.service,
        )
    }

    /// Writes what was left out, and the end.
    pub(crate) fn close(mut self, record: &Record) -> io::Result<()> {
        let tally = &record.tally;
        writeln!(
            self.file,
            "#{COUNTS}completed={} errors={} lost={} late={} duplicate={} reordered={} unsent={}",
            tally.completed,
            tally.troubles.total(),
            tally.lost(),
            tally.late,
            tally.duplicate,
            tally.reordered,
            tally.unsent
        )?;
        self.file.flush()
    }

    /// Writes histograms that were read from elsewhere.
    pub(crate) fn write_log(mut self, log: &HdrLog) -> io::Result<()> {
        self.write_interval(
            log.started,
            Duration::ZERO,
            log.span,
            &log.response,
            &log.service,
        )?;
        if let Some(Counts {
            completed,
            errors,
            lost,
        }) = log.counts
        {
            writeln!(
                self.file,
                "#{COUNTS}completed={completed} errors={errors} lost={lost}"
            )?;
        }
        self.file.flush()
    }

    fn write_interval(
        &mut self,
        started: SystemTime,
        at: Duration,
        length: Duration,
        response: &Distribution,
        service: &Distribution,
    ) -> io::Result<()> {
        let mut serializer = V2DeflateSerializer::new();
        let mut piece = Vec::new();
        // The crate ties a writer to its builder for the whole of a log; a log that is written as
        // it comes takes one for each interval, and keeps the header of the first.
        let mut builder = IntervalLogWriterBuilder::new();
        builder
            .add_comment(&self.comment)
            .with_start_time(started)
            .with_base_time(started)
            .with_max_value_divisor(1e6);
        {
            let mut writer = builder.begin_log_with(&mut piece, &mut serializer)?;
            let (all, all_service) = (whole(response), whole(service));
            let entries = [
                (None, &all),
                (Tag::new(SERVICE), &all_service),
                (Tag::new(UNANSWERED), response.waited()),
                (Tag::new(SERVICE_UNANSWERED), service.waited()),
            ];
            for (tag, times) in entries
                .into_iter()
                .filter(|(tag, times)| tag.is_none() || times.count() > 0)
            {
                writer
                    .write_histogram(times.histogram(), at, length, tag)
                    .map_err(|error| io::Error::other(format!("{error:?}")))?;
            }
        }
        let text = String::from_utf8_lossy(&piece);
        let is_new =
            |line: &&str| !self.has_header || !(line.starts_with('#') || line.starts_with('"'));
        for line in text.lines().filter(is_new) {
            writeln!(self.file, "{line}")?;
        }
        self.has_header = true;
        // A run that is cut off leaves what there was.
        self.file.flush()
    }
}

/// A log that was read, its intervals merged.
#[derive(Debug)]
pub(crate) struct HdrLog {
    pub(crate) response: Distribution,
    pub(crate) service: Distribution,
    pub(crate) started: SystemTime,
    /// From the beginning of the first interval to the end of the last.
    pub(crate) span: Duration,
    /// In the order of the log.
    pub(crate) intervals: Vec<Interval>,
    pub(crate) counts: Option<Counts>,
    /// The name of the run, without control characters.
    pub(crate) label: Option<String>,
}

/// What a log of ours says beside its histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) completed: u64,
    pub(crate) errors: u64,
    pub(crate) lost: u64,
}

/// All members of a distribution, as other readers are to see them.
fn whole(times: &Distribution) -> Times {
    let mut all = times.answered().clone();
    all.record_many(Times::LONGEST, times.waited().count());
    all
}

/// The reverse. What is as long as the longest and was not waited for by us was not answered
/// either, for all that anybody can tell.
fn parted(all: &Times, mut waited: Times) -> Distribution {
    let (answered, longest) = all.below(Times::LONGEST);
    waited.record_many(Times::LONGEST, longest.saturating_sub(waited.count()));
    Distribution::new(answered, waited)
}

impl HdrLog {
    /// Reads a log, by whomever it was written.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub(crate) fn read(bytes: &[u8]) -> Result<HdrLog, String> {
        let mut log = HdrLog {
            response: Distribution::default(),
            service: Distribution::default(),
            started: SystemTime::UNIX_EPOCH,
            span: Duration::ZERO,
            intervals: Vec::new(),
            counts: None,
            label: None,
        };
        let mut response = (Times::default(), Times::default());
        let mut service = (Times::default(), Times::default());
        let (mut begin, mut end, mut base) = (Duration::MAX, Duration::ZERO, Duration::ZERO);
        let mut deserializer = Deserializer::new();
        let mut intervals = 0;
        for entry in IntervalLogIterator::new(bytes) {
            let interval = match entry
                .map_err(|_| "it is no log of HdrHistogram, or it is damaged".to_owned())?
            {
                LogEntry::BaseTime(since) => {
                    base = since;
                    continue;
                }
                LogEntry::StartTime(_) => continue,
                LogEntry::Interval(interval) => interval,
            };
            let unread = |error: &dyn std::fmt::Display| {
                format!("a histogram of it cannot be read: {error}")
            };
            let packed = BASE64
                .decode(interval.encoded_histogram())
                .map_err(|error| unread(&error))?;
            let histogram: Histogram<u64> = deserializer
                .deserialize(&mut packed.as_slice())
                .map_err(|error| unread(&error))?;
            let times = Times::from(&histogram);
            let kind = match interval.tag().map(|tag| tag.as_str().to_owned()).as_deref() {
                None => &mut response.0,
                Some(SERVICE) => &mut service.0,
                Some(UNANSWERED) => &mut response.1,
                Some(SERVICE_UNANSWERED) => &mut service.1,
                // Somebody else's.
                Some(_) => continue,
            };
            if interval.tag().is_none() {
                let all = parted(&times, Times::default());
                log.intervals.push(Interval {
                    at: interval.start_timestamp(),
                    length: interval.duration(),
                    answered: all.answered().count(),
                    p50: all.percentile(50.0).time(),
                    p99: all.percentile(99.0).time(),
                });
            }
            kind.add(&times);
            intervals += 1;
            begin = begin.min(interval.start_timestamp());
            end = end.max(
                interval
                    .start_timestamp()
                    .checked_add(interval.duration())
                    .ok_or("its times are damaged")?,
            );
        }
        if intervals == 0 {
            return Err("it holds no histograms".to_owned());
        }
        log.response = parted(&response.0, response.1);
        log.service = parted(&service.0, service.1);
        log.span = end.saturating_sub(begin);
        for interval in &mut log.intervals {
            interval.at = interval.at.saturating_sub(begin);
        }
        let started = base
            .checked_add(begin)
            .and_then(|since| log.started.checked_add(since));
        log.started = started.ok_or("its times are damaged")?;
        let text = String::from_utf8_lossy(bytes);
        log.counts = text
            .lines()
            .rev()
            .find_map(|line| counts(line.strip_prefix('#')?.strip_prefix(COUNTS)?));
        // Whoever wrote the file, what it says reaches a terminal.
        log.label = text.lines().find_map(|line| {
            let label = line.strip_prefix('#')?.strip_prefix(LABEL)?;
            Some(Escaped(label.as_bytes()).to_string())
        });
        Ok(log)
    }

    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        let count = self
            .counts
            .map_or(self.response.answered().count(), |counts| counts.completed);
        if self.span.is_zero() {
            0.0
        } else {
            count as f64 / self.span.as_secs_f64()
        }
    }
}

fn counts(text: &str) -> Option<Counts> {
    let field = |name: &str| {
        text.split(' ')
            .find_map(|field| field.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    Some(Counts {
        completed: field("completed")?,
        errors: field("errors")?,
        lost: field("lost")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(times: &[u64], seconds: u64) -> HdrLog {
        let mut log = HdrLog {
            response: Distribution::default(),
            service: Distribution::default(),
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            span: Duration::from_secs(seconds),
            intervals: Vec::new(),
            counts: Some(Counts {
                completed: times.len() as u64,
                errors: 7,
                lost: 3,
            }),
            label: None,
        };
        for nanos in times {
            let time = Duration::from_nanos(*nanos);
            if nanos % 5 == 4 {
                log.response.give_up(time, 1);
            } else {
                log.response.record(time);
            }
            log.service.record(time / 2);
        }
        log
    }

    fn written(log: &HdrLog) -> Vec<u8> {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes, "a test").write_log(log).unwrap();
        bytes
    }

    proptest! {
        // Each case packs some hundred kilobytes.
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// What was measured in parts, written and read, is what would have been measured in one.
        #[test]
        fn logs_merge_to_the_histogram_of_everything(
            parts in prop::collection::vec(
                prop::collection::vec(1u64..4_000_000_000_000, 1..50),
                1..5,
            ),
        ) {
            let whole = log(&parts.concat(), 1);
            let mut response = Distribution::default();
            let mut service = Distribution::default();
            for part in &parts {
                let part = HdrLog::read(&written(&log(part, 1))).unwrap();
                response.add(&part.response);
                service.add(&part.service);
            }
            let again = HdrLog::read(&written(&whole)).unwrap().response;
            prop_assert_eq!(response.waited().count(), again.waited().count());
            let rounded = |times: &Distribution, rank| times.answered().at_rank(rank).map(round);
            for (merged, whole) in [(&service, &whole.service), (&response, &again)] {
                let count = whole.answered().count();
                prop_assert_eq!(merged.answered().count(), count);
                for rank in [1, count / 2, count] {
                    prop_assert_eq!(rounded(merged, rank), rounded(whole, rank));
                }
            }
        }

        /// No file breaks the reader.
        #[test]
        fn whatever_is_read_is_a_log_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cut in 0usize..400,
        ) {
            let _ = HdrLog::read(&bytes);
            let whole = written(&log(&[1, 2, 3], 1));
            let mut damaged = whole.clone();
            let at = cut % damaged.len();
            damaged[at] = damaged[at].wrapping_add(1);
            let _ = HdrLog::read(&damaged);
            let _ = HdrLog::read(&whole[..at]);
        }
    }

    /// To the bucket: which time in it stands for all is not kept.
    fn round(time: Duration) -> u64 {
        let times = Times::default();
        times.histogram().highest_equivalent(time.as_nanos() as u64)
    }

    #[test]
    fn a_log_says_when_and_how_much() {
        let read = HdrLog::read(&written(&log(&[1_000, 2_000], 4))).unwrap();
        assert_eq!(
            (read.span, read.started),
            (
                Duration::from_secs(4),
                SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
            )
        );
        assert_eq!(
            (read.counts, read.rate()),
            (
                Some(Counts {
                    completed: 2,
                    errors: 7,
                    lost: 3
                }),
                0.5
            )
        );
    }
}
