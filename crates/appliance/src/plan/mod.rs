//! The decisions: environment and facts in, files out.
//!
//! Guarantees: nothing here reads a file, a variable, a clock or a socket (a test looks); the same input
//! gives the same files; nothing is decided half: either there is a [`Plan`], or a [`Refusal`] with
//! everything that is wrong.
//!
//! The order is Spilo's: the template, the store, the user's mapping over both, the store of a machine
//! without one, the version, what depends on it, and at the end one look at the whole by the agent's own
//! reader.

mod archive;
mod azure;
mod clone;
mod crontab;
mod hba;
mod kubernetes;
mod libraries;
mod location;
mod logs;
mod notices;
mod patroni;
mod pgbouncer;
mod quote;
mod s3;
mod settings;
mod standby;
mod store;
mod swift;
mod tls;
mod user;
mod version;
mod whole;

use crate::document::Document;
use crate::facts::Facts;
use crate::source::Source;
use crate::variables::{self, Environment, Refusal, Values};

pub(crate) use settings::Settings;
pub use settings::data_directory;
pub use version::configured_bin_dir;

/// The parts that can be asked for one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Section {
    Patroni,
    Certificate,
    WalG,
    Crontab,
    PamOauth2,
    Pgbouncer,
    Bootstrap,
    StandbyCluster,
    Log,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Text {
        text: String,
        secret: bool,
    },
    Yaml(Document),
    /// A self-signed certificate for this name, made when it is written, with its key at this path.
    SelfSigned {
        common_name: String,
        host_name: String,
        key: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct File {
    pub section: Section,
    pub path: String,
    pub content: Content,
    pub mode: u32,
    pub source: Source,
    /// Written even where it is already there.
    pub always: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub path: String,
    pub mode: u32,
}

/// Something that people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It goes on, but probably not as meant.
    Warning(String),
    /// What was decided otherwise than one might think.
    Note(String),
    /// A capability that does not exist yet, with the variables that ask for it.
    NotServed { what: &'static str, variables: Vec<String> },
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub files: Vec<File>,
    pub directories: Vec<Directory>,
    pub notices: Vec<Notice>,
    /// Whether a WAL archive is configured.
    pub archiving: bool,
}

impl Plan {
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.notices.push(Notice::Warning(text.into()));
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notices.push(Notice::Note(text.into()));
    }

    fn write(&mut self, section: Section, path: impl Into<String>, text: impl Into<String>, mode: u32, source: Source) {
        let content = Content::Text { text: text.into(), secret: false };
        self.files.push(File { section, path: path.into(), content, mode, source, always: false });
    }

    fn write_secret(
        &mut self,
        section: Section,
        path: impl Into<String>,
        text: impl Into<String>,
        mode: u32,
        source: Source,
    ) {
        let content = Content::Text { text: text.into(), secret: true };
        self.files.push(File { section, path: path.into(), content, mode, source, always: false });
    }
}

/// Everything that the environment asks for on this machine.
pub fn plan(environment: &Environment, facts: &Facts) -> Result<Plan, Refusal> {
    let values = Values::read(environment);
    let mut problems = variables::problems(&values);
    let mut plan = Plan::default();
    notices::of_the_environment(&values, &mut plan);
    let settings = Settings::decide(&values, facts);

    let mut config = patroni::template(&values, facts, &settings);
    store::put(&values, &settings, &mut config, &mut plan);
    let clone = clone::decide(&values, facts, &settings, &mut config, &mut plan, &mut problems);
    if !clone {
        standby::decide(&values, &settings, &mut config, &mut plan);
    }
    let user = user::mapping(&values);
    if let Some((mapping, source)) = &user {
        config.merge(mapping, source);
    }
    store::fall_back(facts, &mut config, &mut plan);
    let version = version::decide(&values, facts, &mut config, &mut plan, &mut problems);
    libraries::add(&values, &version, user.as_ref().map(|(mapping, _)| mapping), &mut config);
    hba::let_replicas_in(&mut config);
    whole::check(&values, &config, &mut plan, &mut problems);

    if !settings.demo {
        archive::write(&values, facts, &settings, &version, &mut plan);
        logs::write(&values, facts, &settings, &mut plan);
        crontab::write(&values, facts, &settings, &config, &mut plan);
        pgbouncer::write(&values, &settings, &mut plan);
    }
    tls::write(&values, &settings, facts, &mut plan);
    pgbouncer::write_pam(&values, &settings, &mut plan);
    plan.files.push(File {
        section: Section::Patroni,
        path: format!("{}/postgres.yml", settings.rw_dir),
        content: Content::Yaml(config),
        mode: 0o600,
        source: Source::Default,
        always: false,
    });
    match problems.is_empty() {
        true => Ok(plan),
        false => Err(Refusal { problems }),
    }
}
