//! What the members put down, told as one story: which lines belong to the same incident, who lost the lead in it, who
//! won it and why, and how long writes paused.
//!
//! Each member put down what it saw by its own clock. The lines are in the order of those times; what began and ended an
//! incident is read from the lines that say who leads and who can be written to.

use jogi_core::Wall;
use jogi_core::ha::{Moment, MomentKind};

/// After writes have begun again, what follows so shortly still belongs to the incident.
const AFTERMATH: i64 = 10_000_000;
/// What was noted or decided so shortly before the first sign is a part of it.
const FOREBODING: i64 = 1_000_000;
/// How a decision to lead begins.
const WON: &str = "acquiring the leader lock, because ";

/// One line of one member.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub member: String,
    pub moment: Moment,
}

/// Lines that belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Incident {
    pub lines: Vec<Line>,
    /// Who could be written to before, or held the lock; nobody where a cluster begins.
    pub lost: Option<String>,
    pub lost_because: Option<String>,
    /// From when on nobody could write. Where the member that lost is not heard, since its lock was gone.
    pub ended: Option<Wall>,
    pub won: Option<String>,
    pub won_because: Option<String>,
    pub began: Option<Wall>,
    last_sign: i64,
}

impl Incident {
    pub fn paused_micros(&self) -> Option<i64> {
        Some((self.began?.0 - self.ended?.0).max(0))
    }

    fn is_over(&self) -> bool {
        self.began.is_some()
    }

    /// Whoever loses after somebody has won begins another incident.
    fn takes(&self, line: &Line, sign: bool) -> bool {
        let loses = sign && matches!(line.moment.kind, MomentKind::LeaderGone | MomentKind::WritesEnded);
        !self.is_over() || (!loses && line.moment.at.0 - self.last_sign <= AFTERMATH)
    }
}

/// Who leads and who can be written to, as far as has been told.
#[derive(Debug, Default)]
struct Seen {
    leader: Option<String>,
    writer: Option<String>,
}

/// The incidents in what all members put down.
pub fn tell(mut lines: Vec<Line>) -> Vec<Incident> {
    // Lines of one member stay in their order.
    lines.sort_by_key(|line| line.moment.at);
    let mut told: Vec<Incident> = Vec::new();
    let mut before: Vec<Line> = Vec::new();
    let mut seen = Seen::default();
    for line in lines {
        let at = line.moment.at.0;
        let sign = seen.is_sign(&line);
        match told.last_mut().filter(|incident| incident.takes(&line, sign)) {
            Some(incident) => incident.add(line, sign, &mut seen),
            None if sign => {
                let mut incident = Incident::default();
                if let Some(last) = told.last_mut() {
                    before.splice(0..0, last.give_up(&line.member, at));
                }
                before.retain(|line| at - line.moment.at.0 <= FOREBODING);
                incident.lines = std::mem::take(&mut before);
                incident.add(line, sign, &mut seen);
                told.push(incident);
            }
            None => {
                seen.learn(&line);
                before.push(line);
            }
        }
    }
    told.iter_mut().for_each(Incident::explain);
    told
}

impl Seen {
    /// Whether the line says that the lead changes, and no line before it has.
    fn is_sign(&self, line: &Line) -> bool {
        let named = Some(&line.moment.text);
        match line.moment.kind {
            MomentKind::LeaderGone => self.leader.as_ref() == named,
            // The first word on who leads is no change.
            MomentKind::LeaderSeen => self.leader.is_some() && self.leader.as_ref() != named,
            MomentKind::WritesEnded => self.writer.as_ref() == Some(&line.member),
            MomentKind::WritesBegan => self.writer.as_ref() != Some(&line.member),
            MomentKind::Decided | MomentKind::Noted => false,
        }
    }
}

impl Seen {
    /// The first word on who leads.
    fn learn(&mut self, line: &Line) {
        if line.moment.kind == MomentKind::LeaderSeen {
            self.leader.get_or_insert_with(|| line.moment.text.clone());
        }
    }
}

impl Incident {
    fn add(&mut self, line: Line, sign: bool, seen: &mut Seen) {
        let Moment { at, kind, text } = &line.moment;
        if sign {
            self.last_sign = at.0;
        }
        match kind {
            MomentKind::LeaderGone if sign => {
                seen.leader = None;
                self.lost_by(text, *at);
            }
            MomentKind::LeaderSeen => {
                seen.leader = Some(text.clone());
            }
            MomentKind::WritesEnded if sign => {
                seen.writer = None;
                self.lost_by(&line.member, *at);
            }
            MomentKind::WritesBegan if sign => {
                seen.writer = Some(line.member.clone());
                self.won = Some(line.member.clone());
                self.began = Some(*at);
            }
            MomentKind::LeaderGone | MomentKind::WritesEnded | MomentKind::WritesBegan => {}
            MomentKind::Decided | MomentKind::Noted => {}
        }
        self.lines.push(line);
    }

    /// The first who is known to have lost counts; that writes are over is seen again where they had begun in between.
    fn lost_by(&mut self, member: &str, at: Wall) {
        self.lost.get_or_insert_with(|| member.to_owned());
        if self.ended.is_none() {
            self.ended = Some(at);
        }
        self.began = None;
        self.won = None;
    }

    /// What the member of the next incident's first sign noted shortly before it was about that one.
    fn give_up(&mut self, member: &str, at: i64) -> Vec<Line> {
        let about_next = |line: &Line| line.member == member && line.moment.at.0 == at;
        let from = self.lines.iter().rposition(|line| !about_next(line)).map_or(0, |last| last + 1);
        self.lines.split_off(from)
    }

    fn explain(&mut self) {
        let noted = self.said(&self.lost, MomentKind::Noted).next();
        let lost_because = noted.or_else(|| self.said(&self.lost, MomentKind::Decided).next()).map(str::to_owned);
        let won_because = self.said(&self.won, MomentKind::Decided).filter_map(|text| text.strip_prefix(WON)).last();
        let won_because = won_because.map(|text| text.split("; waiting for").next().unwrap_or(text).to_owned());
        (self.lost_because, self.won_because) = (lost_because, won_because);
    }

    fn said<'a>(&'a self, member: &'a Option<String>, kind: MomentKind) -> impl Iterator<Item = &'a str> {
        let of_member = self.lines.iter().filter(move |line| Some(&line.member) == member.as_ref());
        of_member.filter(move |line| line.moment.kind == kind).map(|line| line.moment.text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(told: &[(i64, &str, MomentKind, &str)]) -> Vec<Line> {
        let line = |(ms, member, kind, text): &(i64, &str, MomentKind, &str)| Line {
            member: (*member).to_owned(),
            moment: Moment { at: Wall(ms * 1000), kind: *kind, text: (*text).to_owned() },
        };
        told.iter().map(line).collect()
    }

    use MomentKind::{Decided, LeaderGone, LeaderSeen, Noted, WritesBegan, WritesEnded};

    const FAILOVER: [(i64, &str, MomentKind, &str); 13] = [
        (0, "a", WritesBegan, "on timeline 1"),
        (10, "b", LeaderSeen, "a"),
        (20, "a", LeaderSeen, "a"),
        (50_000, "b", Noted, "something else"),
        (100_000, "a", Noted, "the postmaster ended by itself: signal 9"),
        (100_000, "a", WritesEnded, "no action"),
        (100_100, "b", LeaderGone, "a"),
        (100_101, "c", LeaderGone, "a"),
        (
            100_200,
            "b",
            Decided,
            "acquiring the leader lock, because nobody has more WAL; waiting for the store's answer",
        ),
        (100_250, "b", LeaderSeen, "b"),
        (100_300, "b", WritesBegan, "on timeline 2"),
        (100_310, "c", LeaderSeen, "b"),
        (150_000, "c", Noted, "something else"),
    ];

    #[test]
    fn who_lost_who_won_why_and_for_how_long() {
        let told = tell(lines(&FAILOVER));
        let [birth, failover] = told.as_slice() else { panic!("{told:#?}") };
        assert_eq!((birth.won.as_deref(), &birth.lost, birth.paused_micros()), (Some("a"), &None, None));
        assert_eq!(failover.lost.as_deref(), Some("a"));
        assert_eq!(failover.lost_because.as_deref(), Some("the postmaster ended by itself: signal 9"));
        assert_eq!(failover.won.as_deref(), Some("b"));
        assert_eq!(failover.won_because.as_deref(), Some("nobody has more WAL"));
        assert_eq!(failover.paused_micros(), Some(300_000));
        assert_eq!(failover.lines.len(), 8, "neither what was long before nor what came long after: {failover:#?}");
    }

    /// The member that lost is gone with its host, and its record with it.
    #[test]
    fn where_the_loser_is_silent_the_end_of_its_lock_counts() {
        let others = FAILOVER.iter().filter(|(_, member, ..)| *member != "a").copied().collect::<Vec<_>>();
        let told = tell(lines(&others));
        let failover = told.last().expect("an incident");
        assert_eq!((failover.lost.as_deref(), failover.won.as_deref()), (Some("a"), Some("b")));
        assert_eq!((failover.lost_because.as_deref(), failover.paused_micros()), (None, Some(200_000)));
    }

    #[test]
    fn what_is_told_again_is_no_new_incident() {
        let again = [
            (300_000, "b", WritesBegan, "an agent was started again"),
            (300_001, "c", LeaderSeen, "b"),
            (300_002, "a", LeaderSeen, "b"),
        ];
        let told = tell(lines(&[&FAILOVER[..], &again[..]].concat()));
        assert_eq!(told.len(), 2, "{told:#?}");
    }

    /// Two failovers in a row: the second begins with what was noted when it began.
    #[test]
    fn who_loses_after_somebody_has_won_begins_another_incident() {
        let second = [
            (102_000, "b", Noted, "the lease has run out"),
            (102_000, "b", WritesEnded, ""),
            (103_000, "c", WritesBegan, ""),
        ];
        let told = tell(lines(&[&FAILOVER[..12], &second[..]].concat()));
        let [_, first, second] = told.as_slice() else { panic!("{told:#?}") };
        assert_eq!((first.won.as_deref(), second.lost.as_deref()), (Some("b"), Some("b")));
        assert_eq!(second.lost_because.as_deref(), Some("the lease has run out"));
        assert_eq!((second.won.as_deref(), second.lines.len()), (Some("c"), 3));
    }

    #[test]
    fn an_incident_lasts_until_writes_begin_again() {
        let outage = [
            (0, "a", WritesBegan, ""),
            (1, "a", LeaderSeen, "a"),
            (100_000, "a", WritesEnded, ""),
            (100_000, "a", Decided, "demote in progress, because the lease has run out"),
            (105_000, "b", Noted, "the store does not answer"),
            (3_700_000, "b", LeaderGone, "a"),
            (3_700_500, "a", WritesBegan, ""),
        ];
        let told = tell(lines(&outage));
        let outage = told.last().expect("an incident");
        assert_eq!((told.len(), outage.paused_micros()), (2, Some(3_600_500_000)), "{told:#?}");
        assert_eq!((outage.lost.as_deref(), outage.won.as_deref()), (Some("a"), Some("a")));
        assert_eq!(outage.lost_because.as_deref(), Some("demote in progress, because the lease has run out"));
    }
}
