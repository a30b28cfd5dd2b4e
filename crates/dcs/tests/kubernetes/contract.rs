//! The contract: every scenario in a namespace of its own, several on one server, which takes seconds to start.

use std::sync::Arc;

use jogi_dcs::suite;
use jogi_testkit::kube::Kube;

use crate::fixture::Place;

/// One test of the scenarios, in ConfigMaps or Endpoints.
macro_rules! contract {
    ($test:ident, $endpoints:expr; $($scenario:ident)*) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let Some(kube) = Kube::start() else { return };
            let kube = Arc::new(kube);
            let mut number = 0;
            $(
                number += 1;
                eprintln!("{}", stringify!($scenario));
                suite::$scenario(Place::new(&kube, &format!("n{number}"), $endpoints)).await;
            )*
        }
    };
}

contract!(keys_in_configmaps, false;
    a_key_is_created_once
    a_changed_key_is_not_overwritten
    what_only_the_holder_writes
    a_member_key_belongs_to_its_session
    the_watch_shows_every_change_soon
    a_slow_watcher_gets_the_newest_state
    views_of_one_client_never_go_back
    a_removed_cluster_leaves_nothing_and_no_neighbour_behind
);

contract!(the_lock_in_configmaps, false;
    one_of_two_contenders_gets_the_lock
    taking_the_lock_compares_what_was_decided_on
    our_own_lock_of_an_earlier_session_is_taken_over
    a_session_that_is_not_renewed_ends_with_its_keys
    a_renewed_session_outlives_its_ttl
    a_session_lost_while_holding_is_noticed_by_everything
    only_the_holder_releases_and_leaves_its_status
    the_lock_moves_to_another_session
    a_sibling_is_a_client_of_the_same_cluster
);

contract!(everything_in_endpoints, true;
    a_key_is_created_once
    a_changed_key_is_not_overwritten
    one_of_two_contenders_gets_the_lock
    taking_the_lock_compares_what_was_decided_on
    a_session_that_is_not_renewed_ends_with_its_keys
    only_the_holder_releases_and_leaves_its_status
    the_lock_moves_to_another_session
    what_only_the_holder_writes
);

contract!(a_server_that_hangs_and_one_that_goes, false;
    a_hanging_server_is_an_error_in_time
    a_server_that_was_away_is_found_again
);
