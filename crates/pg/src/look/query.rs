//! The one query of a look (ha-rules 23.1), prepared once per connection, and its row.

use std::collections::BTreeMap;

use jogi_config::postgres::Conninfo;
use jogi_core::ha::server::{Receiver, Row, Slot, Walsender};
use jogi_core::{Lsn, SlotName, Timeline, Wall};
use serde_json::Value;

use crate::connect::TextRow;

/// Executes what [`prepare`] prepared.
pub const EXECUTE: &str = "EXECUTE jogi_look";

/// What a row brings beside what rules read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub row: Row,
    /// When the configuration files were last loaded, microseconds since 1970.
    pub loaded_at: i64,
}

/// The statement for a server of this version.
pub fn prepare(version: u32) -> String {
    let since = |from: u32, column: &'static str| if version >= from { column } else { "NULL" };
    let written = since(130_000, "written_lsn");
    let sender_host = since(110_000, "sender_host");
    let sender_port = since(110_000, "sender_port");
    let wal_status = since(130_000, "wal_status");
    let failover = if version >= 170_000 { "AND NOT failover" } else { "" };
    let restores = since(120_000, "current_setting('restore_command') <> ''");
    let receiver_lsn = if version >= 130_000 { "flushed_lsn" } else { "received_lsn" };
    format!(
        "PREPARE jogi_look AS SELECT \
         pg_is_in_recovery(), \
         (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, \
         (extract(epoch FROM pg_conf_load_time()) * 1000000)::bigint, \
         CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END, \
         CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn() END, \
         pg_last_wal_replay_lsn(), \
         pg_last_wal_receive_lsn(), \
         (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000000)::bigint, \
         CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END, \
         current_setting('synchronous_standby_names'), \
         current_setting('synchronous_commit'), \
         (SELECT json_build_object('status', status, 'tli', received_tli, 'written', {written}, \
           'received', {receiver_lsn}, 'latest_end', latest_end_lsn, 'slot', slot_name, 'conninfo', conninfo, \
           'host', {sender_host}, 'port', {sender_port}) FROM pg_stat_wal_receiver), \
         (SELECT json_agg(json_build_array(usename, application_name, client_addr, state, sync_state, \
           sync_priority, write_lsn, flush_lsn, replay_lsn)) FROM pg_stat_replication), \
         (SELECT json_agg(json_build_array(slot_name, slot_type, plugin, database, active, restart_lsn, \
           confirmed_flush_lsn, xmin IS NOT NULL, catalog_xmin, {wal_status})) FROM pg_replication_slots \
           WHERE NOT temporary {failover}), \
         {restores}"
    )
}

/// Reads a row. Columns that a server leaves empty are empty here.
pub fn answer(version: u32, columns: &TextRow) -> Answer {
    let text = |column| columns.get(column).unwrap_or_default();
    let lsn = |column| text(column).parse().unwrap_or(Lsn::INVALID);
    let micros = |column| columns.get(column).and_then(|micros| micros.parse().ok());
    let json = |column| columns.get(column).and_then(|json| serde_json::from_str::<Value>(json).ok());
    let in_recovery = text(0) == "t";
    let receiver = json(11);
    let written = receiver.as_ref().map_or(Lsn::INVALID, |r| lsn_of(&r["written"]).max(lsn_of(&r["received"])));
    let own_timeline = u32::from_str_radix(text(3), 16).ok();
    let row = Row {
        server_version: version,
        postmaster_start: Wall(micros(1).unwrap_or(0)),
        in_recovery,
        timeline: own_timeline.or_else(|| received_timeline(receiver.as_ref()?)).map(Timeline),
        flushed: lsn(4),
        replayed: lsn(5),
        received: lsn(6).max(written),
        replayed_at: micros(7).map(Wall),
        replay_paused: text(8) == "t",
        receiver: receiver.as_ref().map(self::receiver),
        restores: text(14) == "t",
        replication: elements(json(12)).iter().map(walsender).collect(),
        slots: elements(json(13)).iter().map(slot).collect(),
        synchronous_standby_names: text(9).to_owned(),
        synchronous_commit: text(10).to_owned(),
        pending_restart: BTreeMap::new(),
        system_identifier: None,
    };
    Answer { row, loaded_at: micros(2).unwrap_or(0) }
}

/// The wal receiver's timeline counts once it has heard of its upstream's WAL.
fn received_timeline(receiver: &Value) -> Option<u32> {
    receiver["latest_end"].as_str()?;
    u32::try_from(receiver["tli"].as_u64()?).ok()
}

fn receiver(found: &Value) -> Receiver {
    let conninfo = found["conninfo"].as_str().and_then(Conninfo::parse).unwrap_or_default();
    let configured_port = conninfo.get("port").and_then(|port| port.split(',').next()?.parse().ok());
    let host = conninfo.get("host").or(found["host"].as_str()).unwrap_or_default();
    Receiver {
        status: string(&found["status"]),
        host: host.to_owned(),
        port: configured_port.or_else(|| u16::try_from(found["port"].as_u64()?).ok()),
        slot: optional(&found["slot"]).filter(|slot| !slot.is_empty()).map(|slot| SlotName(slot.into())),
        latest_end: lsn_of(&found["latest_end"]),
    }
}

fn walsender(found: &Value) -> Walsender {
    Walsender {
        user: string(&found[0]),
        application_name: string(&found[1]),
        client_addr: optional(&found[2]),
        state: string(&found[3]),
        sync_state: string(&found[4]),
        sync_priority: found[5].as_i64().unwrap_or(0),
        write: lsn_of(&found[6]),
        flush: lsn_of(&found[7]),
        replay: lsn_of(&found[8]),
    }
}

fn slot(found: &Value) -> (SlotName, Slot) {
    let slot = Slot {
        logical: found[1] == "logical",
        plugin: optional(&found[2]),
        database: optional(&found[3]),
        active: found[4] == true,
        restart: optional_lsn(&found[5]),
        confirmed_flush: optional_lsn(&found[6]),
        xmin: found[7] == true,
        catalog_xmin: found[8].as_str().and_then(|xid| xid.parse().ok()).or_else(|| found[8].as_u64()?.try_into().ok()),
        lost: found[9] == "lost",
    };
    (SlotName(string(&found[0]).into()), slot)
}

fn elements(list: Option<Value>) -> Vec<Value> {
    match list {
        Some(Value::Array(elements)) => elements,
        Some(_) | None => Vec::new(),
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn optional(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn optional_lsn(value: &Value) -> Option<Lsn> {
    value.as_str()?.parse().ok()
}

fn lsn_of(value: &Value) -> Lsn {
    optional_lsn(value).unwrap_or(Lsn::INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_asked_only_for_what_it_has() {
        for (version, has, has_not) in [
            (100_023, "received_lsn", "sender_host, "),
            (110_022, "sender_host", "written_lsn,"),
            (110_022, "NULL", "restore_command"),
            (130_018, "wal_status", "failover"),
            (130_018, "restore_command", "NOT failover"),
            (170_000, "NOT failover", "received_lsn"),
        ] {
            let sql = prepare(version);
            assert!(sql.contains(has), "{version}: {has}");
            assert!(!sql.contains(has_not), "{version}: {has_not}");
        }
    }

    #[test]
    fn a_standbys_row_is_read() {
        let receiver = r#"{"status":"streaming","tli":3,"written":"0/5000100","received":"0/5000000",
            "latest_end":"0/5000100","slot":"node_2","conninfo":"user=rep host=10.0.0.1 port=5433","host":"10.0.0.1","port":5433}"#;
        let slots = r#"[["node_3","physical",null,null,false,"0/4000000",null,false,null,"reserved"],
            ["cdc","logical","pgoutput","app",true,"0/3000000","0/3000100",false,"742","lost"]]"#;
        let columns = [
            Some("t"),
            Some("1700000000000000"),
            Some("1700000001000000"),
            None,
            None,
            Some("0/5000050"),
            Some("0/5000000"),
            None,
            Some("f"),
            Some(""),
            Some("on"),
            Some(receiver),
            None,
            Some(slots),
            Some("t"),
        ];
        let columns = TextRow(columns.into_iter().map(|c| c.map(str::to_owned)).collect());
        let Answer { row, loaded_at } = answer(150_020, &columns);
        assert_eq!(loaded_at, 1_700_000_001_000_000);
        assert!(row.in_recovery && row.restores);
        assert_eq!(row.timeline, Some(Timeline(3)));
        assert_eq!(row.received, Lsn(0x500_0100), "written counts");
        assert_eq!(row.position(), Lsn(0x500_0100));
        let receiver = row.receiver.expect("streams");
        assert_eq!((receiver.host.as_str(), receiver.port), ("10.0.0.1", Some(5433)));
        assert_eq!(receiver.slot, Some(SlotName("node_2".into())));
        let logical = &row.slots[&SlotName("cdc".into())];
        assert!(logical.logical && logical.lost && logical.catalog_xmin == Some(742));
        assert!(!row.slots[&SlotName("node_3".into())].lost);
    }
}
