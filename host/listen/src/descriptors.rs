//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows this process as many as its hard limit does. The soft one is often 1,024, for the sake of
/// programs that call select(2), and each connection that is carried takes up to three.
pub fn allow_most_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // What goes on under the old limit is bounded all the same: accepting waits where there is no more.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        allow_most_descriptors();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
