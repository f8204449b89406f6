//! Files of services, with the files of variables that they name.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::fuzz_target;
use pyro_manifest::{Source, Surroundings, needs, read};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // What stands after a line of its own is the `.env`, and every other file that is named.
    let (text, variables) = text.split_once("\n=====\n").unwrap_or((text, ""));
    for name in ["pyro.toml", "compose.yaml"] {
        let source = Source { name, text };
        let known: BTreeMap<String, String> = [("HOME".to_owned(), "/root".to_owned())].into();
        let Ok(needed) = needs(source, &known, Some(variables)) else { continue };
        let texts = needed.env_files.into_iter().map(|file| (file.path, Some(variables.to_owned())));
        let around = Surroundings {
            variables: known,
            dot_env: Some(variables.to_owned()),
            env_files: texts.collect(),
        };
        let Ok(manifest) = read(source, &around) else { continue };
        // Each stands after those it depends on, once.
        let mut seen = BTreeSet::new();
        for service in &manifest.services {
            assert!(service.depends_on.keys().all(|on| seen.contains(on)));
            assert!(seen.insert(service.name.clone()));
            assert!(!service.command.is_empty());
        }
    }
});
