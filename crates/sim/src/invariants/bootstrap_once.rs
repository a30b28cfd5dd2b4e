//! A cluster identity is created once: what was published is never replaced, and nobody runs initdb after it.

use jogi_core::view::Key;

use super::Violation;
use crate::world::World;

#[derive(Clone, Debug, Default)]
pub struct BootstrapOnce {
    revision: u64,
    published: Option<String>,
    systems: usize,
}

impl BootstrapOnce {
    pub fn check(&mut self, world: &World) -> Option<Violation> {
        let made = world.systems.len();
        if made > self.systems {
            self.systems = made;
            if let Some(identity) = &self.published {
                let text = format!("initdb has made a cluster although {identity} is published");
                return Some(Violation { at: world.now, check: "a cluster is bootstrapped once", text });
            }
        }
        if world.store.revision() == self.revision {
            return None;
        }
        self.revision = world.store.revision();
        let now = world.store.value(&Key::Initialize).filter(|v| is_identity(v));
        match (&self.published, now) {
            (None, Some(identity)) => self.published = Some(identity.to_owned()),
            (Some(before), Some(identity)) if before != identity => {
                let text = format!("the published identity {before} was replaced by {identity}");
                return Some(Violation { at: world.now, check: "a cluster is bootstrapped once", text });
            }
            (Some(_) | None, Some(_) | None) => {}
        }
        None
    }
}

fn is_identity(value: &str) -> bool {
    value.len() >= 10 && value.bytes().all(|b| b.is_ascii_digit())
}
