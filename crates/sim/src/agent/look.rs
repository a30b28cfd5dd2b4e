//! What a look at the model of our own server finds.

use jogi_core::ha::Server;
use jogi_core::ha::server::{Accepting, Process, Receiver, Row, Slot, Walsender};

use crate::net::HostId;
use crate::postgres::{Hang, Phase};
use crate::streams::Stream;
use crate::world::World;

impl World {
    /// On the connection that the agent has kept, else on a fresh one: a stopped postmaster lets nobody new in.
    pub(crate) fn observe(&mut self, host: HostId) -> Server {
        let pg = &self.hosts[host].pg;
        let kept = self.hosts[host].agent.as_ref().and_then(|agent| agent.kept) == Some(pg.server);
        let row = (pg.accepts() || kept && pg.answers()).then(|| self.row(host)).flatten();
        let server = self.server_as_seen(host, row);
        let kept = server.row.is_some().then_some(self.hosts[host].pg.server);
        if let Some(agent) = self.hosts[host].agent.as_mut() {
            agent.kept = kept;
        }
        server
    }

    fn server_as_seen(&self, host: HostId, row: Option<Row>) -> Server {
        let pg = &self.hosts[host].pg;
        let hung = pg.running.is_some() && pg.hang() == Hang::Everything;
        let process = match pg.seen() {
            Process::Running { pid, adopted, .. } if row.is_some() => {
                Process::Running { pid, adopted, accepting: Accepting::Yes }
            }
            seen => seen,
        };
        Server {
            data: self.dir_as_seen(host),
            process,
            row,
            fresh: pg.running.as_ref().map(|r| r.hang == Hang::No),
            silent: hung.then(|| "the query was not answered within 2 s".to_owned()),
            archiving: false,
            looked_at: self.boot(host),
        }
    }

    fn row(&self, host: HostId) -> Option<Row> {
        let pg = &self.hosts[host].pg;
        let (data, running) = (pg.data()?, pg.running.as_ref()?);
        let in_recovery = running.phase != Phase::Primary;
        let end = self.wal.end(data.tip);
        let zero = jogi_core::Lsn::INVALID;
        Some(Row {
            server_version: 150_010,
            postmaster_start: running.started,
            in_recovery,
            timeline: Some(self.wal.timeline(data.tip)),
            flushed: if in_recovery { zero } else { end },
            replayed: if in_recovery { end } else { zero },
            received: if in_recovery && self.streams[host].is_some() { end } else { zero },
            replayed_at: None,
            replay_paused: in_recovery && self.hosts[host].quirks.replay_paused,
            receiver: self.receiver(host),
            restores: false,
            replication: self.walsenders(host),
            slots: self.slots(host),
            synchronous_standby_names: pg.sync.text.clone(),
            synchronous_commit: "on".to_owned(),
            pending_restart: self.pending_restart(host),
            system_identifier: Some(data.system_identifier()),
        })
    }

    fn pending_restart(&self, host: HostId) -> std::collections::BTreeMap<String, (String, String)> {
        let pending = self.hosts[host].quirks.pending_restart;
        let change = ("max_connections".to_owned(), ("100".to_owned(), "200".to_owned()));
        pending.then_some(change).into_iter().collect()
    }

    fn receiver(&self, host: HostId) -> Option<Receiver> {
        let stream = self.streams[host].as_ref()?;
        let data = self.hosts[host].pg.data()?;
        Some(Receiver {
            status: "streaming".to_owned(),
            host: super::address(stream.upstream),
            port: Some(5432),
            slot: data.slot.clone(),
            latest_end: self.wal.end(data.tip),
        })
    }

    fn walsenders(&self, host: HostId) -> Vec<Walsender> {
        let fed = self.fed_by(host);
        let states = self.hosts[host].pg.sync.states(&self.standings(host, &fed));
        let at = |record: Option<crate::wal::RecordId>| record.map(|r| self.wal.end(r)).unwrap_or_default();
        let row = |((standby, stream), (sync_priority, sync_state)): (&(HostId, &Stream), (i64, &str))| Walsender {
            user: "replicator".to_owned(),
            application_name: self.hosts[*standby].name.to_string(),
            client_addr: Some(super::address(*standby)),
            state: if stream.caught_up { "streaming" } else { "catchup" }.to_owned(),
            sync_state: sync_state.to_owned(),
            sync_priority,
            write: at(stream.written),
            flush: at(stream.flushed),
            replay: at(stream.flushed),
        };
        fed.iter().zip(states).map(row).collect()
    }

    fn slots(&self, host: HostId) -> std::collections::BTreeMap<jogi_core::SlotName, Slot> {
        let Some(data) = self.hosts[host].pg.data() else { return Default::default() };
        let fed = self.fed_by(host);
        let used = |name: &jogi_core::SlotName| {
            fed.iter().any(|(standby, _)| self.hosts[*standby].pg.data().and_then(|d| d.slot.as_ref()) == Some(name))
        };
        let slot = |(name, at): (&jogi_core::SlotName, &jogi_core::Lsn)| {
            let slot = Slot { active: used(name), restart: Some(*at), ..Slot::default() };
            (name.clone(), slot)
        };
        let logical = |(name, slot): (&jogi_core::SlotName, &crate::postgres::data::LogicalSlot)| {
            let slot = Slot {
                logical: true,
                plugin: Some(slot.plugin.clone()),
                database: Some(slot.database.clone()),
                restart: Some(slot.confirmed),
                confirmed_flush: Some(slot.confirmed),
                catalog_xmin: Some(slot.catalog_xmin()),
                ..Slot::default()
            };
            (name.clone(), slot)
        };
        data.slots.iter().map(slot).chain(data.logical.iter().map(logical)).collect()
    }
}
