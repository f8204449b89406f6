//! Which names usually hold secrets. Says nothing about what is in the files.

const NAMES: &[&[u8]] = &[
    b".env",
    b".envrc",
    b".git-credentials",
    b".htpasswd",
    b".netrc",
    b".npmrc",
    b".pgpass",
    b".pypirc",
    b".vault-token",
    b"_netrc",
    b"credentials.json",
    b"id_dsa",
    b"id_ecdsa",
    b"id_ed25519",
    b"id_rsa",
    b"service-account.json",
];
const ENDINGS: &[&[u8]] =
    &[b".jks", b".kdbx", b".key", b".keystore", b".p12", b".pem", b".pfx", b".ppk"];
const PATHS: &[&[u8]] = &[
    b".aws/credentials",
    b".azure/accessTokens.json",
    b".cargo/credentials",
    b".cargo/credentials.toml",
    b".config/gcloud/application_default_credentials.json",
    b".config/gh/hosts.yml",
    b".docker/config.json",
    b".kube/config",
];
const EXAMPLES: &[&[u8]] = &[b"dist", b"example", b"sample", b"template"];

/// Whether a file of this path below the root is known to hold secrets by its name.
pub fn is_sensitive(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    if let Some(variant) = name.strip_prefix(b".env.") {
        let last = variant.rsplit(|byte| *byte == b'.').next().unwrap_or(variant);
        return !EXAMPLES.contains(&last);
    }
    NAMES.contains(&name)
        || ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
        || PATHS.iter().any(|known| {
            path.strip_suffix(*known)
                .is_some_and(|before| before.is_empty() || before.ends_with(b"/"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_and_examples_are_not() {
        for path in [
            ".env",
            "a/.env",
            ".env.local",
            "x/id_rsa",
            "server.key",
            "tls/ca.pem",
            ".kube/config",
            "home/.aws/credentials",
            ".env.example.local",
        ] {
            assert!(is_sensitive(path.as_bytes()), "{path}");
        }
        for path in [
            ".env.example",
            ".env.sample",
            "env",
            "id_rsa.pub",
            "kube/config",
            "x.kube/config",
            ".pem",
            "monkey",
            "config",
        ] {
            assert!(!is_sensitive(path.as_bytes()), "{path}");
        }
    }
}
