//! Members asking each other over their APIs.

use std::time::Duration;

use jogi_core::Lsn;
use jogi_core::ha::{EffectId, Failure, Outcome, Reply, Request, Yield};
use serde_json::{Value, json};

use crate::agent::{Requester, Stall, ToAgent};
use crate::net::{HostId, Node};
use crate::postgres::Phase;
use crate::world::{Happening, World};

/// One request from member to member.
#[derive(Clone, Debug)]
pub struct Question {
    pub from: HostId,
    pub incarnation: u64,
    pub effect: EffectId,
    pub to: HostId,
    pub asked: Asked,
}

#[derive(Clone, Debug)]
pub enum Asked {
    /// `GET /patroni`.
    Status,
    /// `POST /failsafe`.
    Failsafe(Value),
}

/// How long an answer may take when the server behind it does not answer.
const LIVE_QUERY: Duration = Duration::from_millis(200);

impl World {
    pub(crate) fn send_question(&mut self, question: Question) {
        let (from, to) = (Node::Host(question.from), Node::Host(question.to));
        if let Some(delay) = self.net.send(from, to, &mut self.rng) {
            self.schedule(delay, Happening::PeerArrives(Box::new(question)));
        }
    }

    pub fn peer_answers(&mut self, question: Question) {
        let Question { from, incarnation, effect, to, asked } = question;
        if !self.hosts[to].powered {
            return;
        }
        let stall = self.hosts[to].agent.as_ref().map(|a| a.stall);
        match (stall, asked) {
            (None, _) => {
                let refused = Err(Failure::Unreachable("connection refused".to_owned()));
                self.answer_peer(to, from, incarnation, effect, refused);
            }
            // The kernel takes the connection; nobody answers it.
            (Some(Stall::Everything), _) => {}
            (Some(Stall::No | Stall::Core), Asked::Status) => {
                let document = self.status_document(to);
                self.answer_peer(to, from, incarnation, effect, Ok(Yield::Answered(document)));
            }
            (Some(Stall::No | Stall::Core), Asked::Failsafe(body)) => {
                let asker = Requester::Member { host: from, incarnation, effect };
                match Request::failsafe(&body) {
                    Some(request) => _ = self.request(to, request, asker),
                    None => {
                        let bad = json!({"accepted": false, "status": 400, "lsn": null});
                        self.answer_peer(to, from, incarnation, effect, Ok(Yield::Answered(bad)));
                    }
                }
            }
        }
    }

    pub(crate) fn answer_peer(
        &mut self,
        from: HostId,
        to: HostId,
        incarnation: u64,
        effect: EffectId,
        outcome: Outcome,
    ) {
        let slow = self.hosts[from].pg.running.is_some() && !self.hosts[from].pg.answers();
        let work = if slow { LIVE_QUERY } else { self.rng.millis(1, 6) };
        if let Some(delay) = self.net.send(Node::Host(from), Node::Host(to), &mut self.rng) {
            let what = ToAgent::Outcome(effect, Box::new(outcome));
            self.schedule(delay + work, Happening::Agent { host: to, incarnation, what });
        }
    }

    /// `GET /patroni`: what the server says now, and what the agent makes of it.
    fn status_document(&self, host: HostId) -> Value {
        let now = self.clock_now(host);
        let Host { pg, agent, tags, .. } = &self.hosts[host];
        let Some(agent) = agent else { return Value::Null };
        let snapshot = agent.ha.snapshot(now);
        let mut document = json!({
            "state": snapshot.state,
            "role": snapshot.role,
            "tags": tags,
            "patroni": {"version": "4.1.5", "scope": "herd", "name": self.hosts[host].name.as_str()},
        });
        document["jogi"] = json!({"coming_up": snapshot.coming_up, "aside": snapshot.aside});
        if snapshot.watchdog_failed {
            document["watchdog_failed"] = json!(true);
        }
        if snapshot.failsafe_active {
            document["failsafe_mode_is_active"] = json!(true);
        }
        if let (true, Some(data)) = (pg.answers(), pg.data()) {
            let end = self.wal.end(data.tip).0;
            document["timeline"] = json!(self.wal.timeline(data.tip).0);
            document["xlog"] = match pg.phase() {
                Some(Phase::Primary) => json!({"location": end}),
                Some(_) | None => json!({"received_location": end, "replayed_location": end, "paused": false}),
            };
        }
        document
    }
}

use crate::world::Host;

pub(crate) fn document_of_reply(reply: &Reply, position: Lsn) -> Value {
    json!({"accepted": reply.status == 200 && reply.text == "Accepted", "status": reply.status, "lsn": position.0})
}
