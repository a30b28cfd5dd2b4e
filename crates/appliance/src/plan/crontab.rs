//! The jobs, as lines of a crontab: people look for them there, and the scheduler reads them.

use super::archive::{self, Role};
use super::quote::quoted;
use super::{Directory, Plan, Section, Settings, logs, tls};
use crate::document::Document;
use crate::facts::{Facts, Renice};
use crate::source::Source;
use crate::variables::{Values, crontab};

pub(super) fn write(values: &Values, facts: &Facts, settings: &Settings, config: &Document, plan: &mut Plan) {
    let mut lines = Vec::new();
    let cron = format!("{}/cron/crontabs", settings.rw_dir);
    match facts.renice {
        Renice::Yes => lines.push("*/5 * * * * bash /scripts/renice.sh".to_owned()),
        Renice::ByRoot => {
            let text = format!("PATH={}\n*/5 * * * * bash /scripts/renice.sh\n", facts.path);
            plan.write(Section::Crontab, format!("{cron}/root"), text, 0o600, Source::Machine("no-new-privileges"));
        }
        Renice::No => plan.note("the priority of processes cannot be raised here (SYS_NICE is missing): no renice job"),
    }
    lines.extend(reload(values, settings));
    let data = config.text(&["postgresql", "data_dir"]).unwrap_or(&settings.data.value);
    if let Some(archive) = archive::of(values, settings, Role::Main) {
        let schedule = values.text("BACKUP_SCHEDULE", "0 1 * * *").value;
        let (dir, data) = (quoted(&archive.directory), quoted(data));
        lines.push(format!("{schedule} envdir {dir} /scripts/postgres_backup.sh {data}"));
    }
    if values.filled("LOG_S3_BUCKET").is_some() {
        let schedule = match settings.hourly {
            true => "1 */1 * * *".to_owned(),
            false => values.text("LOG_SHIP_SCHEDULE", "1 0 * * *").value,
        };
        let dir = quoted(&logs::directory(values, settings));
        lines.push(format!("{schedule} nice -n 5 envdir {dir} /scripts/upload_pg_log_to_s3.py"));
    }
    lines.extend(values.get("CRONTAB").and_then(|text| crontab(text).ok()).into_iter().flatten());
    if lines.is_empty() {
        return;
    }
    plan.directories.push(Directory { path: cron.clone(), mode: 0o1730 });
    let text = format!("PATH={}\n{}\n", facts.path, lines.join("\n"));
    plan.write_secret_lines(&cron, text);
}

impl Plan {
    /// A user's job may carry a password: only the owner reads it.
    fn write_secret_lines(&mut self, cron: &str, text: String) {
        let source = Source::Derived("the jobs".into());
        self.write(Section::Crontab, format!("{cron}/postgres"), text, 0o600, source);
    }
}

/// The look at the certificates.
fn reload(values: &Values, settings: &Settings) -> Option<String> {
    if !values.flag("SSL_TEST_RELOAD", values.has("SSL_PRIVATE_KEY_FILE")).value {
        return None;
    }
    let mut words = vec![format!("PGDATA={}", quoted(&settings.data.value))];
    for (key, file) in tls::server_files(values, settings) {
        let variable = match key {
            "ssl_ca_file" => "SSL_CA_FILE",
            "ssl_crl_file" => "SSL_CRL_FILE",
            "ssl_cert_file" => "SSL_CERTIFICATE_FILE",
            _ => "SSL_PRIVATE_KEY_FILE",
        };
        words.push(format!("{variable}={}", quoted(&file.value)));
    }
    Some(format!("*/5 * * * * {} /scripts/test_reload_ssl.sh {}/tmp", words.join(" "), settings.rw_dir))
}
