use super::*;

fn set(text: &str) -> Names {
    text.split_whitespace().map(MemberName::from).collect()
}

fn state(leader: &str, quorum: u32, voters: &str, number: u32, sync: &str) -> State {
    State {
        leader: leader.into(),
        quorum,
        voters: set(voters),
        number,
        sync: set(sync),
        confirmed: 0,
        active: Names::new(),
        wanted: 1,
        me: "a".into(),
    }
}

/// `quorum a,1,b c` and `sync 1,b c`, one after another.
fn written(steps: &[Transition]) -> String {
    let names = |names: &Names| names.iter().map(MemberName::as_str).collect::<Vec<_>>().join(" ");
    let step = |step: &Transition| match step {
        Transition::Quorum { leader, quorum, voters } => format!("quorum {leader},{quorum},{}", names(voters)),
        Transition::Sync { number, names: sync } => format!("sync {number},{}", names(sync)),
        Transition::Restart => "restart".to_owned(),
    };
    steps.iter().map(step).collect::<Vec<_>>().join(" > ")
}

/// Obtained by running the reference (ha-rules 12.4).
#[test]
fn the_resolver_does_what_the_reference_does() {
    for (l, q, v, n, s, c, a, w, me, expected) in [
        ("a", 0, "", 0, "", 0, "b", 1, "a", "sync 1,b > restart"),
        ("a", 0, "", 1, "b", 0, "b", 1, "a", "restart"),
        ("a", 0, "", 1, "b", 1, "b", 1, "a", "quorum a,0,b"),
        ("a", 0, "", 0, "", 0, "b c", 1, "a", "sync 1,b c > restart"),
        ("a", 0, "", 1, "b c", 1, "b c", 1, "a", "quorum a,1,b c"),
        ("a", 1, "b c", 1, "b c", 2, "b c", 1, "a", ""),
        ("a", 1, "b c", 1, "b c", 2, "b c d", 1, "a", "quorum a,2,b c d > sync 1,b c d"),
        ("a", 0, "b", 1, "b", 1, "b d", 2, "a", "sync 2,b d > quorum a,1,b d"),
        ("a", 2, "b c d", 1, "b c d", 3, "b c d", 2, "a", "sync 2,b c d > quorum a,1,b c d"),
        ("a", 1, "b c d", 2, "b c d", 3, "b c d", 1, "a", "quorum a,2,b c d > sync 1,b c d"),
        ("a", 1, "b c", 1, "b c", 1, "b", 1, "a", "sync 1,b > quorum a,0,b"),
        ("a", 0, "b c", 2, "b c", 1, "b", 2, "a", "quorum a,0,b > sync 1,b"),
        ("a", 1, "b c", 1, "b c", 0, "", 1, "a", "quorum a,0, > sync 0,"),
        ("a", 1, "b c", 1, "a c", 0, "", 1, "b", "quorum b,1,a c"),
        ("a", 1, "b c", 1, "a c", 0, "c", 1, "b", "quorum b,1,a c > sync 1,c > quorum b,0,c"),
        ("a", 1, "b c", 2, "a b c", 0, "b c", 1, "d", "quorum d,1,a b c > sync 2,b c > quorum d,1,b c > sync 1,b c"),
        ("a", 1, "b c", 1, "b", 1, "b", 1, "a", "quorum a,0,b"),
        ("a", 1, "b c", 1, "b", 1, "b c", 1, "a", "sync 1,b c"),
        ("a", 0, "b", 1, "b c", 1, "b c", 1, "a", "quorum a,1,b c"),
        ("a", 0, "b", 1, "b c", 1, "b", 1, "a", "quorum a,1,b c > sync 1,b > quorum a,0,b"),
        ("a", 0, "b", 1, "c", 1, "b c", 1, "a", "quorum a,1,b c > sync 1,b c"),
        ("a", 1, "b c", 1, "b c", 1, "b d", 1, "a", "sync 1,b > quorum a,1,b d > sync 1,b d"),
        ("a", 0, "b", 2, "b c", 1, "b c", 2, "a", "quorum a,1,b c"),
    ] {
        let state = State { confirmed: c, active: set(a), wanted: w, me: me.into(), ..state(l, q, v, n, s) };
        let (steps, violation) = resolve(&state);
        assert_eq!((written(&steps).as_str(), violation), (expected, None), "{state:?}");
    }
}

/// A stream of numbers from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn of(&mut self, names: &Names) -> Option<MemberName> {
        let at = self.below(names.len().max(1) as u64) as usize;
        names.iter().nth(at).cloned()
    }
}

/// Timeline and position.
type Place = (u32, u64);

/// A herd of which only positions, the key and the names are of interest.
struct Herd {
    chance: Chance,
    everybody: Names,
    places: std::collections::BTreeMap<MemberName, Place>,
    streaming: Names,
    state: State,
    /// Where the primary was when the names came in force.
    base: Place,
    acknowledged: Place,
    story: Vec<String>,
}

impl Herd {
    fn new(seed: u64) -> Herd {
        let mut chance = Chance(seed);
        let size = 2 + chance.below(4) as usize;
        let everybody: Names = ["a", "b", "c", "d", "e"].into_iter().take(size).map(MemberName::from).collect();
        let places = everybody.iter().map(|name| (name.clone(), (1, 10))).collect();
        Herd {
            chance,
            everybody,
            places,
            streaming: Names::new(),
            state: state("a", 0, "", 0, ""),
            base: (1, 10),
            acknowledged: (1, 10),
            story: Vec::new(),
        }
    }

    fn end(&self) -> Place {
        self.places[&self.state.me]
    }

    fn holders(&self) -> Names {
        let caught_up = |name: &&MemberName| self.streaming.contains(*name) && self.places[*name] >= self.base;
        self.state.sync.iter().filter(caught_up).cloned().collect()
    }

    /// The state as the leader sees it.
    fn seen(&self) -> State {
        let active = self.streaming.clone();
        State { confirmed: len(&self.holders()), active, ..self.state.clone() }
    }

    /// Commits are acknowledged as far as the names in force allow.
    fn acknowledge(&mut self) {
        let mut confirmed: Vec<Place> =
            self.state.sync.iter().filter(|n| self.streaming.contains(*n)).map(|n| self.places[n]).collect();
        confirmed.sort_by(|a, b| b.cmp(a));
        let upto = match self.state.number {
            0 => Some(self.end()),
            number => confirmed.get(number as usize - 1).copied(),
        };
        if let Some(upto) = upto.filter(|p| p.0 == self.end().0) {
            self.acknowledged = self.acknowledged.max(upto);
        }
    }

    fn step(&mut self) -> Plan {
        let plan = next(&self.seen(), &self.holders());
        match &plan {
            Plan::Change(Change::Key { leader, quorum, standbys }) => {
                self.state.leader = leader.clone();
                self.state.quorum = *quorum;
                self.state.voters = standbys.clone();
            }
            Plan::Change(Change::Names(names)) => {
                (self.state.number, self.state.sync) = as_quorum(names);
                self.base = self.end();
                self.acknowledge();
            }
            Plan::Wait | Plan::Rest => {}
        }
        self.story.push(format!("{plan:?}"));
        plan
    }

    fn happens(&mut self) {
        let others = &self.everybody - &Names::from([self.state.me.clone()]);
        let who = self.chance.of(&others).expect("two at least");
        let end = self.end();
        match self.chance.below(12) {
            0..=2 => {
                self.places.insert(self.state.me.clone(), (end.0, end.1 + 1));
            }
            3..=6 if self.streaming.contains(&who) => {
                let behind = end.1.saturating_sub(self.places[&who].1);
                let place = (end.0, self.places[&who].1 + self.chance.below(behind + 1));
                self.places.insert(who, place);
            }
            7 => {
                // It is rewound onto our timeline, and has no more than we had when it began.
                let place = self.places[&who].min(end);
                let place = if place.0 < end.0 { (end.0, place.1.min(end.1)) } else { place };
                self.places.insert(who.clone(), place);
                self.streaming.insert(who);
            }
            8 => _ = self.streaming.remove(&who),
            9 if self.chance.below(4) == 0 => self.state.wanted = 1 + self.chance.below(3) as u32,
            10 if self.chance.below(3) == 0 => self.fail_over(),
            _ => {}
        }
        self.acknowledge();
    }

    fn electorate(&self) -> Names {
        self.state.voters.iter().chain([&self.state.leader]).cloned().collect()
    }

    /// All sets that elect.
    fn electing(&self) -> Vec<Names> {
        let electorate: Vec<MemberName> = self.electorate().into_iter().collect();
        let sets = (0u32..1 << electorate.len()).filter(|set| set.count_ones() == self.state.quorum + 1);
        let names = |set: u32| {
            let chosen = electorate.iter().enumerate().filter(move |(i, _)| set & (1 << i) != 0);
            chosen.map(|(_, name)| name.clone()).collect()
        };
        sets.map(names).collect()
    }

    fn fail_over(&mut self) {
        let sets = self.electing();
        let set = &sets[self.chance.below(sets.len() as u64) as usize];
        let best = set.iter().max_by_key(|name| self.places[*name]).cloned().expect("nobody elects");
        let at_least = self.places[&best];
        let me = match self.chance.of(&self.everybody) {
            // Anybody who has as much as those who vote for it.
            Some(other) if self.places[&other] >= at_least => other,
            Some(_) | None => best,
        };
        let names =
            before_promotion(&me, Some(&self.state.leader), self.state.quorum, &self.state.voters).expect("led before");
        let mut voters = self.electorate();
        voters.remove(&me);
        self.story.push(format!("failover from {} to {me}: {names}", self.state.me));
        (self.state.number, self.state.sync) = as_quorum(&names);
        self.state.voters = voters;
        self.state.leader = me.clone();
        self.state.me = me.clone();
        let place = self.places[&me];
        self.places.insert(me, (self.places.values().map(|p| p.0).max().unwrap_or(1) + 1, place.1));
        self.base = self.end();
        self.streaming.clear();
    }

    fn check(&self) {
        for set in self.electing() {
            let best = set.iter().map(|name| self.places[name]).max().expect("nobody elects");
            assert!(
                best >= self.acknowledged,
                "{set:?} elects without {:?}; {:?}; {:?}\n{}",
                self.acknowledged,
                self.state,
                self.places,
                self.story.join("\n")
            );
        }
    }

    /// Nothing happens any more but that standbys catch up.
    fn settle(&mut self) {
        let end = self.end();
        for _ in 0..30 {
            for name in self.streaming.clone() {
                self.places.insert(name, end);
            }
            self.acknowledge();
            if self.step() == Plan::Rest {
                let n = self.state.wanted.min(len(&self.streaming));
                let s = &self.state;
                assert_eq!((&s.voters, &s.sync), (&self.streaming, &self.streaming), "{}", self.story.join("\n"));
                assert_eq!((s.number, s.quorum), (n, len(&self.streaming) - n), "{}", self.story.join("\n"));
                return;
            }
            self.check();
        }
        panic!(
            "it does not come to rest: {:?} {:?} {:?}\n{}",
            self.seen(),
            self.holders(),
            resolve(&self.seen()),
            self.story.join("\n")
        );
    }
}

/// Whatever happens, at every single step: who can elect has what was acknowledged. And when it stops happening the
/// best state is reached.
#[test]
fn every_electing_set_has_every_acknowledged_commit() {
    for seed in 0..20_000 {
        let mut herd = Herd::new(seed);
        for _ in 0..60 {
            herd.happens();
            herd.check();
            if herd.chance.below(2) == 0 {
                herd.step();
                herd.check();
            }
        }
        herd.settle();
    }
}
