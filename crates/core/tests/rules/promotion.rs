//! A promotion that is over, and a server that is no primary: a process of it crashed meanwhile, PostgreSQL began recovery
//! anew, and the promotion is forgotten. Its signal file is what keeps it from writing on its old timeline.

use jogi_core::ha::server::{ControlState, DataDir};
use jogi_core::ha::{Act, Event, Found, LaunchAs, Mode, Request, RequestId, Restart, Server, Yield};

use crate::bench::{self, Bench, control, standby, view};

fn left_in_recovery(mut server: Server) -> Server {
    let DataDir::Present(control) = &mut server.data else { panic!("no data") };
    control.recovery_files = true;
    server
}

fn ended() -> Server {
    left_in_recovery(bench::stopped(control(1, ControlState::ShutDownInRecovery, 1000)))
}

/// The guard has said that recovery has ended; nobody has looked since.
fn promoted_unseen() -> Bench {
    let mut b = Bench::begin(Found::default());
    b.looked(left_in_recovery(standby(1, 1000)));
    b.see(view(&bench::herd(Some("b"))));
    b.settle();
    b.see_watched(view(&bench::herd(None)));
    b.looked(left_in_recovery(standby(1, 1000)));
    b.answered("b", bench::replica_document(1, 1000));
    b.expect("acquire");
    b.acquired();
    b.see(view(&bench::herd(Some("a"))));
    b.settle_until("promote");
    b.expect("promote");
    b.done(Yield::Done);
    b
}

fn comes_up_as_a_standby(b: &mut Bench) {
    for _ in 0..10 {
        b.pass(100);
        b.look_again();
        b.settle_until("configure");
        if b.is_open("configure") {
            break;
        }
    }
    let Act::Configure { setup } = b.expect("configure") else { panic!("no configuration") };
    assert!(matches!(setup.mode, Mode::Standby { .. }), "{:?}", setup.mode);
    b.done(Yield::Configured { restart: false, unchanged: false });
    let Act::Launch { as_, .. } = b.expect("launch") else { panic!("no launch") };
    assert_eq!(as_, LaunchAs::Standby);
}

#[test]
fn a_restart_asked_for_before_it_is_seen_does_not_make_it_a_primary() {
    let mut b = promoted_unseen();
    b.tell(Event::Request(RequestId(1), Request::Restart(Restart::default())));
    b.settle_until("signal");
    b.expect("signal");
    b.done(Yield::Done);
    b.exited();
    b.expect("fence");
    b.done(Yield::Done);
    b.looked(ended());
    b.renew();
    comes_up_as_a_standby(&mut b);
}

#[test]
fn a_death_before_it_is_seen_does_not_make_it_a_primary() {
    let mut b = promoted_unseen();
    b.exited();
    b.looked(ended());
    comes_up_as_a_standby(&mut b);
}
