//! The device: a file, and the requests that the kernel knows for it (`linux/watchdog.h`). This layer has never run on a
//! real device: the machines of the tests have none.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, OFlags};
use rustix::ioctl::{Getter, Updater, ioctl, opcode};

#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("the watchdog {} cannot be used: {cause}", path.display())]
    Use { path: PathBuf, cause: io::Error },
    #[error("{} is no watchdog: {cause}", path.display())]
    NoWatchdog { path: PathBuf, cause: io::Error },
    #[error("the watchdog {} takes no timeout from us, or has no way to be closed (its options are {options:#x})", path.display())]
    Unfit { path: PathBuf, options: u32 },
    #[error("the watchdog {} has a timeout of {actual} s where {wanted} s were asked for", path.display())]
    Timeout { path: PathBuf, wanted: u32, actual: u32 },
    #[error("the watchdog {} could not be told {what}: {cause}", path.display())]
    Tell { path: PathBuf, what: &'static str, cause: io::Error },
}

/// How the device is told its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Kernel,
    /// Patroni's for tests: everything is written, also the timeout.
    Testing,
}

impl Driver {
    pub fn named(name: &str) -> Driver {
        if name == "testing" { Driver::Testing } else { Driver::Kernel }
    }
}

#[derive(Debug)]
pub struct Device {
    file: File,
    path: PathBuf,
    driver: Driver,
}

const GROUP: u8 = b'W';
const GET_SUPPORT: u32 = opcode::read::<Info>(GROUP, 0);
const SET_TIMEOUT: u32 = opcode::read_write::<i32>(GROUP, 6);
const GET_TIMEOUT: u32 = opcode::read::<i32>(GROUP, 7);
const CAN_SET_TIMEOUT: u32 = 0x0080;
const MAGIC_CLOSE: u32 = 0x0100;

/// `struct watchdog_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Info {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

impl Device {
    /// From this moment on the host is reset unless it is pinged (with the kernel's driver).
    pub fn open(path: &Path, driver: Driver) -> Result<Device, DeviceError> {
        // A pipe that nobody reads must not hold us.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let opened = OpenOptions::new().write(true).custom_flags(flags).open(path);
        let file = opened.map_err(|cause| DeviceError::Use { path: path.to_owned(), cause })?;
        let device = Device { file, path: path.to_owned(), driver };
        match device.check() {
            Ok(()) => Ok(device),
            Err(error) => {
                device.close()?;
                Err(error)
            }
        }
    }

    pub fn try_out(path: &Path) -> Result<(), DeviceError> {
        rustix::fs::access(path, Access::WRITE_OK)
            .map_err(|cause| DeviceError::Use { path: path.to_owned(), cause: cause.into() })
    }

    fn check(&self) -> Result<(), DeviceError> {
        let Driver::Kernel = self.driver else { return Ok(()) };
        // SAFETY: WDIOC_GETSUPPORT fills a `struct watchdog_info`, which `Info` is.
        let info: Info = unsafe { ioctl(&self.file, Getter::<GET_SUPPORT, Info>::new()) }
            .map_err(|cause| DeviceError::NoWatchdog { path: self.path.clone(), cause: cause.into() })?;
        let needed = CAN_SET_TIMEOUT | MAGIC_CLOSE;
        if info.options & needed != needed {
            return Err(DeviceError::Unfit { path: self.path.clone(), options: info.options });
        }
        Ok(())
    }

    pub fn set_timeout(&self, seconds: u32) -> Result<(), DeviceError> {
        if self.driver == Driver::Testing {
            return self.write(format!("Ctimeout={seconds}\n").as_bytes(), "its timeout");
        }
        let failed = |cause: rustix::io::Errno| DeviceError::Tell {
            path: self.path.clone(),
            what: "its timeout",
            cause: cause.into(),
        };
        let mut wanted = i32::try_from(seconds).unwrap_or(i32::MAX);
        // SAFETY: WDIOC_SETTIMEOUT reads and writes an int.
        unsafe { ioctl(&self.file, Updater::<SET_TIMEOUT, i32>::new(&mut wanted)) }.map_err(failed)?;
        // SAFETY: WDIOC_GETTIMEOUT fills an int.
        let actual: i32 = unsafe { ioctl(&self.file, Getter::<GET_TIMEOUT, i32>::new()) }.map_err(failed)?;
        let actual = u32::try_from(actual).unwrap_or(0);
        // A longer one would let the host live beyond the lease.
        if actual > seconds {
            return Err(DeviceError::Timeout { path: self.path.clone(), wanted: seconds, actual });
        }
        Ok(())
    }

    pub fn ping(&self) -> Result<(), DeviceError> {
        self.write(b"1", "that the lease stands")
    }

    /// The magic character, then the end.
    pub fn close(self) -> Result<(), DeviceError> {
        self.write(b"V", "to let the host live")
    }

    fn write(&self, bytes: &[u8], what: &'static str) -> Result<(), DeviceError> {
        (&self.file).write_all(bytes).map_err(|cause| DeviceError::Tell { path: self.path.clone(), what, cause })
    }
}
