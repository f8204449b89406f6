//! Messages of the domain name system, as a guest's resolver sends them.
#![no_main]

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use futures::{FutureExt, future::BoxFuture};
use libfuzzer_sys::fuzz_target;
use pyro_relay::{DomainName, Limits, Policy, Relay, Resolve, ResolveError, Settings, Transport};

struct Always;

impl Resolve for Always {
    fn resolve(&self, _: DomainName) -> BoxFuture<'_, Result<Vec<IpAddr>, ResolveError>> {
        let addresses = ["1.2.3.4", "10.0.0.1", "2606:4700::1"];
        async move { Ok(addresses.iter().filter_map(|text| text.parse().ok()).collect()) }.boxed()
    }
}

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts")
});

static RELAY: LazyLock<Relay> = LazyLock::new(|| {
    let policy = Policy::parse("off", &["**.a", "**.com", "a.b", "x"]).expect("these are rules");
    let mut settings = Settings::new(Arc::new(Always));
    let many = u32::MAX / 100;
    settings.limits = Limits { queries: many, lookups: many, ..Limits::default() };
    Relay::new(policy, settings)
});

fuzz_target!(|input: &[u8]| {
    for (transport, most) in [(Transport::Udp, 1232), (Transport::Tcp, 65535)] {
        let Some(answer) = RUNTIME.block_on(RELAY.dns(input, transport, None)) else { continue };
        // An answer, to this query, and no longer than its way takes.
        assert!(answer.len() >= 12 && answer.len() <= most);
        assert!(answer[..2] == input[..2] && answer[2] & 0x80 != 0);
        // What is private is never told.
        assert!(!answer.windows(10).any(|part| part == [0, 1, 0, 0, 0, 60, 0, 4, 10, 0]));
    }
    assert!(RELAY.figures().names <= 4096);
});
