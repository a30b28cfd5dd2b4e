//! etcd v3: the contract of every store, what etcd's faults do to it, and answers that make no sense.

mod contract;
mod faults;
mod nonsense;

use jogi_dcs::suite;
