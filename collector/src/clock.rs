//! The collector's clock: the one place where it is read.

use std::time::SystemTime;

use swarmguard_wire::Timestamp;

/// The present time.
pub fn now() -> Timestamp {
    SystemTime::now().into()
}
