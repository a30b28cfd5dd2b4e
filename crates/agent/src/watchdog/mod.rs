//! The kernel watchdog of this host: opened and closed by effects, pinged by the lease keeper.
//!
//! The hazard is the order at the end: a ping after the magic character takes it back, and closing the device then resets the
//! host. So the device is taken out of the keeper's sight first, and the character is written when no ping can be under way.
//! An agent that dies closes it without the character: the host is reset unless the next agent opens it in time.

mod device;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jogi_config::local::Watchdog as Configuration;
use jogi_core::Tick;
use jogi_core::lease::watchdog::may_ping;
use jogi_net::boot_now;

use device::{Device, Driver};

pub use device::DeviceError;

/// How long a ping that is under way is waited for.
const PING_ENDS: Duration = Duration::from_secs(1);

/// The watchdog, while it is open.
#[derive(Debug, Default)]
pub struct Watchdog(ArcSwapOption<Open>);

#[derive(Debug)]
struct Open {
    device: Device,
    timeout: Duration,
}

impl Watchdog {
    /// Opens it, or changes the timeout of one that is open. Blocking.
    pub fn open(&self, configuration: &Configuration, seconds: u32) -> Result<(), DeviceError> {
        let before = self.take();
        let device = match before.map(|open| open.device) {
            Some(device) => device,
            None => Device::open(Path::new(&configuration.device), Driver::named(&configuration.driver))?,
        };
        match device.set_timeout(seconds) {
            Ok(()) => {
                self.0.store(Some(Arc::new(Open { device, timeout: Duration::from_secs(seconds.into()) })));
                Ok(())
            }
            Err(error) => {
                device.close()?;
                Err(error)
            }
        }
    }

    /// Closes it so that it does not reset the host. Blocking.
    pub fn close(&self) -> Result<(), DeviceError> {
        self.take().map_or(Ok(()), |open| open.device.close())
    }

    /// Whether it is there and may be opened. Blocking.
    pub fn try_out(&self, configuration: &Configuration) -> Result<(), DeviceError> {
        Device::try_out(Path::new(&configuration.device))
    }

    /// The lease stands until `valid_until`: lets the host live as far as that covers.
    pub fn ping(&self, valid_until: Tick) {
        let Some(open) = self.0.load_full() else { return };
        if may_ping(boot_now(), valid_until, open.timeout)
            && let Err(error) = open.device.ping()
        {
            tracing::warn!("{error}");
        }
    }

    /// Out of the keeper's sight, and no ping under way. One that hangs keeps it, and then the host is reset.
    fn take(&self) -> Option<Open> {
        let mut open = self.0.swap(None)?;
        let until = boot_now() + PING_ENDS;
        loop {
            match Arc::try_unwrap(open) {
                Ok(open) => return Some(open),
                Err(_) if boot_now() >= until => return None,
                Err(pinged) => open = pinged,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    use std::process::Command;

    use rustix::fs::OFlags;

    use super::*;

    /// A named pipe for a device: what is written into it is what a device would be told.
    fn pipe() -> (tempfile::TempDir, Configuration, std::fs::File) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("watchdog");
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a small number");
        let reader = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&path).expect("a pipe");
        let configuration = Configuration {
            mode: jogi_config::local::WatchdogMode::Required,
            device: path.to_string_lossy().into_owned(),
            safety_margin: 5,
            driver: "testing".into(),
        };
        (dir, configuration, reader)
    }

    fn told(reader: &mut std::fs::File) -> String {
        let mut bytes = [0; 256];
        let length = reader.read(&mut bytes).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn it_is_told_what_patronis_would_be_and_closed_by_the_magic_character() {
        let (_dir, configuration, mut reader) = pipe();
        let watchdog = Watchdog::default();
        watchdog.ping(boot_now() + Duration::from_secs(100));
        watchdog.open(&configuration, 25).expect("opened");
        assert_eq!(told(&mut reader), "Ctimeout=25\n");
        watchdog.ping(boot_now() + Duration::from_secs(30));
        watchdog.ping(boot_now() + Duration::from_secs(24));
        assert_eq!(told(&mut reader), "1", "a ping that the lease does not cover is not given");
        watchdog.open(&configuration, 10).expect("another timeout");
        assert_eq!(told(&mut reader), "Ctimeout=10\n");
        watchdog.close().expect("closed");
        watchdog.ping(boot_now() + Duration::from_secs(30));
        assert_eq!(told(&mut reader), "V", "and nothing after it");
        watchdog.close().expect("nothing left to close");
    }

    #[test]
    fn one_that_is_not_there_or_is_no_watchdog_is_named() {
        let (dir, mut configuration, _reader) = pipe();
        let watchdog = Watchdog::default();
        configuration.driver = "default".into();
        let error = watchdog.open(&configuration, 25).expect_err("a pipe knows no ioctl");
        assert!(error.to_string().contains("is no watchdog"), "{error}");
        watchdog.try_out(&configuration).expect("it may be written");
        configuration.device = dir.path().join("none").to_string_lossy().into_owned();
        let error = watchdog.try_out(&configuration).expect_err("not there");
        assert!(error.to_string().contains("cannot be used"), "{error}");
        assert!(watchdog.open(&configuration, 25).is_err());
    }

    #[test]
    fn pings_do_not_come_after_the_magic_character() {
        let (_dir, configuration, mut reader) = pipe();
        let watchdog = Watchdog::default();
        for _ in 0..50 {
            watchdog.open(&configuration, 1).expect("opened");
            std::thread::scope(|scope| {
                scope.spawn(|| (0..20).for_each(|_| watchdog.ping(boot_now() + Duration::from_secs(9))));
                watchdog.close().expect("closed");
            });
            let told = told(&mut reader);
            assert!(told.ends_with('V') && told.matches('V').count() == 1, "{told}");
        }
    }
}
