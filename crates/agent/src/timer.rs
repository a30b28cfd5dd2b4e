//! Deadlines on the boot clock.
//!
//! The runtime's own timers count CLOCK_MONOTONIC, which stands still while the host is suspended: a member
//! would wake up and believe that it has its lease for as long as before. A timerfd on CLOCK_BOOTTIME fires
//! at the moment of waking.

use std::io;
use std::os::fd::OwnedFd;

use jogi_core::Tick;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One timer, set again and again.
pub struct BootTimer {
    fd: AsyncFd<OwnedFd>,
    set_to: Option<Tick>,
}

impl BootTimer {
    /// Must be called within the runtime.
    pub fn new() -> io::Result<BootTimer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = rustix::time::timerfd_create(TimerfdClockId::Boottime, flags)?;
        // SAFETY: the timer owns its descriptor alone and keeps it for as long as it is registered.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? };
        Ok(BootTimer { fd, set_to: None })
    }

    /// Sets the moment at which [`elapsed`](Self::elapsed) ends; `None`: never. A moment that has passed ends it at once.
    pub fn set(&mut self, at: Option<Tick>) -> io::Result<()> {
        if self.set_to == at {
            return Ok(());
        }
        // Zero would switch the timer off.
        let nanos = at.map_or(0, |tick| tick.0.max(1));
        let value =
            Timespec { tv_sec: i64::try_from(nanos / NANOS).unwrap_or(i64::MAX), tv_nsec: (nanos % NANOS) as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        rustix::time::timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        self.set_to = at;
        Ok(())
    }

    /// Ends when the moment has come. May be dropped and called again.
    pub async fn elapsed(&mut self) {
        loop {
            let Ok(mut ready) = self.fd.readable().await else { return std::future::pending().await };
            let mut expirations = [0u8; 8];
            match rustix::io::read(self.fd.get_ref(), &mut expirations) {
                Ok(_) => {
                    self.set_to = None;
                    return;
                }
                Err(_) => ready.clear_ready(),
            }
        }
    }
}

const NANOS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_timer_ends_at_its_moment_and_can_be_moved() {
        let mut timer = BootTimer::new().expect("a timer");
        let begin = jogi_net::boot_now();
        timer.set(Some(begin + Duration::from_secs(60))).expect("set");
        timer.set(Some(begin + Duration::from_millis(30))).expect("set again");
        timer.elapsed().await;
        let took = jogi_net::boot_now().since(begin);
        assert!(took >= Duration::from_millis(30) && took < Duration::from_secs(30), "{took:?}");
        timer.set(Some(begin)).expect("set to the past");
        timer.elapsed().await;
    }
}
