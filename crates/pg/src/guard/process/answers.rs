//! What is said: answers to commands, and news to everybody who is connected. Nothing here allocates or waits.

use std::os::fd::AsFd;

use jogi_core::lease::Server;

use super::commands::No;
use super::{Guard, MOST_CONNECTIONS};
use crate::guard::client::{Exit, ExitStatus};
use crate::guard::socket;
use crate::guard::wire::{Kind, Role, Tag, Writer};
use crate::pidfd::{ProcessId, Text};

impl Guard {
    pub(super) fn report(&mut self, index: usize, id: u32) {
        let mut text = Text::<1024>::new();
        let mut writer = Writer::begin(&mut text, Kind::StatusIs, id)
            .number(Tag::Armed, u64::from(self.lease.armed))
            .number(Tag::Ending, u64::from(self.custody.is_ending()))
            .number(Tag::Promoting, u64::from(self.promotion.is_some()))
            .number(Tag::Acted, u64::from(self.section.acted.code()))
            .number(Tag::ActedAt, self.section.acted_at.0)
            .number(Tag::LockedBytes, self.locked_bytes);
        writer = match self.custody.server() {
            Server::None => writer,
            Server::Standby => writer.number(Tag::Server, Role::Standby.code()),
            Server::Primary { generation: None } => writer.number(Tag::Server, Role::Unleased.code()),
            Server::Primary { generation: Some(generation) } => {
                writer.number(Tag::Server, Role::Primary.code()).number(Tag::Generation, generation)
            }
        };
        if let Some(postmaster) = &self.postmaster {
            writer = id_fields(writer, postmaster.process.id()).number(Tag::Adopted, u64::from(!postmaster.child));
        }
        if let Some(exit) = self.last_exit {
            writer = exit_fields(writer, exit);
        }
        drop_writer(writer);
        self.send(index, &text);
    }

    pub(super) fn answer_done(&mut self, index: usize, id: u32) {
        let mut text = Text::<128>::new();
        let mut writer = Writer::begin(&mut text, Kind::Done, id);
        if let Some(postmaster) = &self.postmaster {
            writer = id_fields(writer, postmaster.process.id());
        }
        drop_writer(writer);
        self.send(index, &text);
    }

    pub(super) fn answer_refused(&mut self, index: usize, id: u32, no: No) {
        let mut text = Text::<128>::new();
        let writer = Writer::begin(&mut text, Kind::Refused, id)
            .number(Tag::Reason, no.reason.code())
            .number(Tag::Detail, no.detail)
            .number(Tag::Detail2, no.detail2);
        drop_writer(writer);
        self.send(index, &text);
    }

    /// Tells everybody who is connected.
    pub(super) fn tell(&mut self, kind: Kind, fields: impl FnOnce(Writer<'_, Text<256>>)) {
        let mut text = Text::<256>::new();
        fields(Writer::begin(&mut text, kind, 0));
        for index in 0..MOST_CONNECTIONS {
            self.send(index, &text);
        }
    }

    /// Who does not read is not waited for: the connection is closed, and its agent attaches again when it comes to itself.
    pub(super) fn send<const N: usize>(&mut self, index: usize, text: &Text<N>) {
        let Some(connection) = &self.connections[index] else { return };
        if socket::send(connection.as_fd(), text.as_bytes(), None).is_err() {
            self.connections[index] = None;
        }
    }
}

/// Ends the borrow of the text that was written.
pub(super) fn drop_writer<const N: usize>(_: Writer<'_, Text<N>>) {}

fn id_fields<const N: usize>(writer: Writer<'_, Text<N>>, id: ProcessId) -> Writer<'_, Text<N>> {
    writer.number(Tag::Pid, u64::try_from(id.pid).unwrap_or(0)).number(Tag::Started, id.started)
}

pub(super) fn exit_fields<const N: usize>(writer: Writer<'_, Text<N>>, exit: Exit) -> Writer<'_, Text<N>> {
    let number = |number: i32| u64::try_from(number).unwrap_or(0);
    let writer = writer.number(Tag::Left, number(exit.pid));
    match exit.how {
        ExitStatus::Code(code) => writer.number(Tag::ExitCode, number(code)),
        ExitStatus::Signal(signal) => writer.number(Tag::ExitSignal, number(signal)),
        ExitStatus::NotExecuted { errno } => writer.number(Tag::ExecErrno, number(errno)),
        ExitStatus::Unknown => writer,
    }
}
