//! Log lines in Patroni's formats, from a thread of their own.
//!
//! The hazard is a reader that stops reading: a blocked standard error, a dead NFS directory for the log
//! file. Whoever logs only puts a record into a bounded queue; what does not fit is lost and counted. So
//! nothing that a log line goes to can stop the decision loop, the keeper or REST.
//!
//! A panic is logged through the same queue, and where the loop or the keeper panics the process ends
//! ([`panics`]).

mod format;
pub mod panics;
mod record;
mod writer;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jogi_config::local::Log;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};

use record::{Level, Record};
use writer::Writer;

/// How long the end of the process waits for the last lines.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Exit code when the log cannot be written any more at the end (Patroni's).
pub const EXIT_LOG_BROKEN: i32 = 5;

static LOGGING: OnceLock<Logging> = OnceLock::new();

/// The logging of this process.
#[derive(Clone)]
pub struct Logging {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Item>,
}

struct Shared {
    levels: ArcSwap<Levels>,
    limit: AtomicUsize,
    queued: AtomicUsize,
    lost: AtomicU64,
}

enum Item {
    Line(Box<Record>),
    Settings(Box<Log>),
}

/// The log thread cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the log thread: {0}")]
pub struct LoggingError(#[from] std::io::Error);

impl Logging {
    /// Starts the log thread and makes it the process's one destination of log lines.
    pub fn start(settings: &Log) -> Result<Logging, LoggingError> {
        let (queue, items) = mpsc::channel();
        let shared = Arc::new(Shared {
            levels: ArcSwap::from_pointee(Levels::new(settings)),
            limit: AtomicUsize::new(settings.max_queue_size.max(1)),
            queued: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        });
        let (counters, writer) = (Arc::clone(&shared), Writer::new(settings));
        let log = std::thread::Builder::new().name("log".into()).stack_size(128 * 1024);
        log.spawn(move || write_out(items, &counters, writer))?;
        let logging = Logging { shared, queue };
        let subscriber = tracing_subscriber::registry().with(QueueLayer(logging.clone()));
        // The first one stays: tests of one process may start several.
        let _ = tracing::subscriber::set_global_default(subscriber);
        let _ = LOGGING.set(logging.clone());
        Ok(logging)
    }

    /// The logging of this process, once started.
    pub fn current() -> Option<&'static Logging> {
        LOGGING.get()
    }

    /// Applies changed settings, from the next line on.
    pub fn reload(&self, settings: &Log) {
        self.shared.limit.store(settings.max_queue_size.max(1), Ordering::Relaxed);
        self.shared.levels.store(Arc::new(Levels::new(settings)));
        let _ = self.queue.send(Item::Settings(Box::new(settings.clone())));
        tracing::callsite::rebuild_interest_cache();
    }

    /// Lines waiting to be written.
    pub fn queue_size(&self) -> usize {
        self.shared.queued.load(Ordering::Relaxed)
    }

    /// Lines lost since the start, because the queue was full or the destination failed.
    pub fn records_lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Waits a moment for the queue to be written out; `false` when lines remain. Blocks its thread.
    pub fn flush(&self) -> bool {
        self.flush_within(LAST_WORDS)
    }

    fn flush_within(&self, limit: Duration) -> bool {
        let until = jogi_net::boot_now() + limit;
        while self.queue_size() > 0 {
            if jogi_net::boot_now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    fn put(&self, record: Record) {
        if self.shared.queued.fetch_add(1, Ordering::AcqRel) >= self.shared.limit.load(Ordering::Relaxed) {
            self.shared.queued.fetch_sub(1, Ordering::AcqRel);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.queue.send(Item::Line(Box::new(record))).is_err() {
            self.shared.queued.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The log thread. Once it has caught up it tells how many lines were lost on the way.
fn write_out(items: mpsc::Receiver<Item>, shared: &Shared, mut writer: Writer) {
    let mut told = 0;
    for item in items {
        let record = match item {
            Item::Line(record) => record,
            Item::Settings(settings) => {
                writer.reconfigure(&settings);
                continue;
            }
        };
        let written = writer.write(&record);
        let waiting = shared.queued.fetch_sub(1, Ordering::AcqRel) - 1;
        if !written {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let lost = shared.lost.load(Ordering::Relaxed);
        if waiting == 0 && lost > told && shared.levels.load().ours <= Level::Warning {
            writer.write(&lost_lines(lost - told));
            told = lost;
        }
    }
}

fn lost_lines(count: u64) -> Record {
    let text = format!(
        "{count} log lines were lost: more of them waited than log.max_queue_size allows, or they could not be written"
    );
    Record::message(Level::Warning, text)
}

/// Which lines are wanted: a level for all, and levels for modules.
#[derive(Debug)]
struct Levels {
    ours: Level,
    modules: Vec<(String, Level)>,
}

impl Levels {
    fn new(settings: &Log) -> Levels {
        let mut modules: Vec<(String, Level)> =
            settings.loggers.iter().map(|(name, level)| (name.replace('.', "::"), Level::parse(level))).collect();
        modules.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Levels { ours: Level::parse(&settings.level), modules }
    }

    /// Lines of libraries are shown from WARNING on, unless a level is set for them.
    fn of(&self, target: &str) -> Level {
        let within =
            |name: &str| target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        match self.modules.iter().find(|(name, _)| within(name)) {
            Some((_, level)) => *level,
            None if target.starts_with("jogi") => self.ours,
            None => self.ours.max(Level::Warning),
        }
    }

    fn most(&self) -> LevelFilter {
        let least = self.modules.iter().map(|(_, level)| *level).chain([self.ours]).min().unwrap_or(Level::Info);
        least.filter()
    }
}

struct QueueLayer(Logging);

impl<S: Subscriber> Layer<S> for QueueLayer {
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = self.0.shared.levels.load().of(metadata.target());
        *metadata.level() <= level.filter()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.shared.levels.load().most())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let record = Record::of(event);
        if record.level >= self.0.shared.levels.load().of(event.metadata().target()) {
            self.0.put(record);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use jogi_config::local::{LogFormat, LogType};

    use super::*;

    pub(crate) fn settings(level: &str, loggers: &[(&str, &str)]) -> Log {
        Log {
            kind: LogType::Plain,
            level: level.into(),
            traceback_level: "ERROR".into(),
            format: LogFormat::Template("%(message)s".into()),
            dateformat: None,
            static_fields: BTreeMap::new(),
            max_queue_size: 1000,
            dir: None,
            mode: None,
            file_num: 4,
            file_size: 25_000_000,
            loggers: loggers.iter().map(|(n, l)| ((*n).to_owned(), (*l).to_owned())).collect(),
            deduplicate_heartbeat_logs: false,
        }
    }

    #[test]
    fn a_module_has_the_level_of_its_longest_name() {
        let levels = Levels::new(&settings("INFO", &[("jogi_dcs", "DEBUG"), ("jogi_dcs.etcd3", "ERROR")]));
        for (target, level) in [
            ("jogi_agent::runtime", Level::Info),
            ("jogi_dcs", Level::Debug),
            ("jogi_dcs::watch", Level::Debug),
            ("jogi_dcs::etcd3::lease", Level::Error),
            ("jogi_dcsx", Level::Info),
            ("hyper::client", Level::Warning),
        ] {
            assert_eq!(levels.of(target), level, "{target}");
        }
    }

    #[test]
    fn what_does_not_fit_into_the_queue_is_lost_counted_and_told() {
        let (queue, items) = mpsc::channel();
        let logging = Logging {
            shared: Arc::new(Shared {
                levels: ArcSwap::from_pointee(Levels::new(&settings("INFO", &[]))),
                limit: AtomicUsize::new(3),
                queued: AtomicUsize::new(0),
                lost: AtomicU64::new(0),
            }),
            queue,
        };
        for n in 0..5 {
            logging.put(Record::message(Level::Info, format!("line {n}")));
        }
        assert_eq!((logging.queue_size(), logging.records_lost()), (3, 2));
        assert!(!logging.flush_within(Duration::from_millis(1)), "nobody reads the queue");

        let dir = std::env::temp_dir().join(format!("jogi-lost-lines-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let shared = Arc::clone(&logging.shared);
        drop(logging);
        write_out(items, &shared, Writer::new(&Log { dir: Some(dir.clone()), ..settings("INFO", &[]) }));
        let written = std::fs::read_to_string(dir.join("patroni.log")).expect("lines");
        std::fs::remove_dir_all(&dir).expect("the temporary directory goes");
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines[..3], ["line 0", "line 1", "line 2"]);
        assert!(lines.len() == 4 && lines[3].starts_with("2 log lines were lost"), "{written}");
    }
}
