//! Rules of an allow-list, as a caller writes them, and the names they are compared with.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use pyro_relay::{Class, DomainName, Rule, classify};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (text, other) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(rule) = text.parse::<Rule>() else { return };
    // It is written as it is read.
    assert_eq!(rule.to_string().parse::<Rule>().ok().as_ref(), Some(&rule));
    if let Ok(name) = DomainName::parse(other) {
        assert!(!(rule.is_literal() && rule.covers_name(&name)));
    }
    if let Ok(address) = other.parse::<IpAddr>() {
        let class = classify(address, &[]);
        if rule.covers_address(address, class) {
            assert!(rule.is_literal());
            // What is special is opened by what lies within it, never by the whole world.
            let is_wide = text.contains("/0") && !text.contains("/0.");
            assert!(class == Class::Public || !is_wide || !text.starts_with("0.0.0.0/0"));
        }
    }
});
