//! Archives that lie, built header by header.
#![allow(dead_code, reason = "each of the tests needs some of it")]

#[derive(Default, Clone)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn raw(
        mut self,
        kind: u8,
        name: &[u8],
        link: &[u8],
        size: u64,
        edit: impl FnOnce(&mut [u8; 512]),
    ) -> Self {
        let mut header = [0_u8; 512];
        header[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        header[100..107].copy_from_slice(b"0000644");
        header[108..115].copy_from_slice(b"0001750");
        header[116..123].copy_from_slice(b"0001750");
        header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        header[136..147].copy_from_slice(b"00000000001");
        header[156] = kind;
        header[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        header[257..265].copy_from_slice(b"ustar\x0000");
        edit(&mut header);
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend_from_slice(&header);
        self
    }

    pub(crate) fn bytes(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn member(self, kind: u8, name: &[u8], link: &[u8]) -> Self {
        self.raw(kind, name, link, 0, |_| {})
    }

    pub(crate) fn file(self, name: &[u8]) -> Self {
        self.raw(b'0', name, b"", 5, |_| {}).bytes(b"PWNED")
    }

    pub(crate) fn directory(self, name: &[u8]) -> Self {
        self.member(b'5', name, b"")
    }

    pub(crate) fn link(self, name: &[u8], target: &[u8]) -> Self {
        self.member(b'2', name, target)
    }

    pub(crate) fn hard(self, name: &[u8], target: &[u8]) -> Self {
        self.member(b'1', name, target)
    }

    pub(crate) fn extension(self, kind: u8, content: &[u8]) -> Self {
        self.raw(kind, b"extension", b"", content.len() as u64, |_| {}).bytes(content)
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while rest + length.to_string().len() != length {
                length = rest + length.to_string().len();
            }
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.extension(b'x', &content)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// What it is, the archive, and the codes of `unpack` and `rewrite`; empty where it is harmless.
pub(crate) type Case = (&'static str, Vec<u8>, &'static str, &'static str);

fn names() -> Vec<Case> {
    const NAME: &str = "archive_unsafe_name";
    let new = Tar::default;
    let deep = [b"d/".repeat(3000), b"f".to_vec()].concat();
    let long = [b'n'; 300];
    vec![
        ("absolute", new().file(b"/tmp/pyro-canary").end(), NAME, NAME),
        ("absolute directory", new().directory(b"/").end(), NAME, NAME),
        ("upwards", new().file(b"../canary").end(), NAME, NAME),
        ("upwards within", new().file(b"a/../../canary").end(), NAME, NAME),
        ("upwards at the end", new().directory(b"a/..").end(), NAME, NAME),
        ("upwards after a dot", new().file(b"./../outside/canary").end(), NAME, NAME),
        (
            "upwards by prefix",
            new()
                .raw(b'0', b"canary", b"", 0, |header| header[345..347].copy_from_slice(b".."))
                .end(),
            NAME,
            NAME,
        ),
        (
            "absolute by prefix",
            new()
                .raw(b'0', b"canary", b"", 0, |header| header[345..349].copy_from_slice(b"/tmp"))
                .end(),
            NAME,
            NAME,
        ),
        ("empty", new().file(b"").end(), NAME, NAME),
        ("a file for the root", new().file(b".").end(), NAME, NAME),
        ("a link for the root", new().link(b"./", b"../outside").end(), NAME, NAME),
        ("a directory for the root", new().directory(b"./").end(), "", ""),
        (
            "upwards by pax",
            new().pax(&[("path", b"../outside/canary")]).file(b"good").end(),
            NAME,
            NAME,
        ),
        ("absolute by pax", new().pax(&[("path", b"/tmp/x")]).file(b"good").end(), NAME, NAME),
        (
            "NUL by pax",
            new().pax(&[("path", b"good\0/../../canary")]).file(b"good").end(),
            NAME,
            NAME,
        ),
        (
            "upwards by a sparse name",
            new().pax(&[("GNU.sparse.name", b"../canary")]).file(b"good").end(),
            NAME,
            NAME,
        ),
        (
            "upwards by a long name",
            new().extension(b'L', b"../outside/canary\0").file(b"good").end(),
            NAME,
            NAME,
        ),
        ("NUL in a long name", new().extension(b'L', b"a\0b\0").file(b"good").end(), NAME, NAME),
        ("a long component", new().extension(b'L', &long).file(b"good").end(), NAME, NAME),
        ("a deep name by pax", new().pax(&[("path", &deep)]).file(b"good").end(), NAME, NAME),
        (
            "a deep long name",
            new().extension(b'L', &deep).file(b"good").end(),
            "archive_too_large",
            "archive_too_large",
        ),
        ("backslashes are letters", new().file(b"..\\..\\canary").end(), "", ""),
    ]
}

fn links() -> Vec<Case> {
    const NAME: &str = "archive_unsafe_name";
    const LINK: &str = "archive_unsafe_link";
    let new = Tar::default;
    vec![
        ("through a link", new().link(b"l", b"../outside").file(b"l/canary").end(), NAME, NAME),
        (
            "through an absolute link",
            new().link(b"l", b"/tmp").file(b"l/pyro-canary").end(),
            NAME,
            NAME,
        ),
        (
            "through two links",
            new().link(b"a", b"b").link(b"b", b"../outside").file(b"a/canary").end(),
            NAME,
            NAME,
        ),
        (
            "a directory through a link",
            new().link(b"l", b"../outside").directory(b"l/new").end(),
            NAME,
            NAME,
        ),
        (
            "a link through a link",
            new().link(b"l", b"../outside").link(b"l/new", b"x").end(),
            NAME,
            NAME,
        ),
        ("through a link to the root", new().link(b"l", b".").file(b"l/l/x").end(), NAME, NAME),
        ("through a planted link", new().file(b"planted/canary").end(), NAME, ""),
        ("over a planted link", new().file(b"planted-file").end(), "", ""),
        (
            "a mode through a planted link",
            new()
                .raw(b'5', b"planted", b"", 0, |header| {
                    header[100..107].copy_from_slice(b"0000777");
                })
                .end(),
            "",
            "",
        ),
        (
            "a directory over a link of its own",
            new().link(b"l", b"../outside").directory(b"l").file(b"l/canary").end(),
            "",
            "archive_duplicate_member",
        ),
        (
            "a link over a directory, then used",
            new().directory(b"d").link(b"d", b"../outside").file(b"d/canary").end(),
            NAME,
            "archive_duplicate_member",
        ),
        ("a hard link outside", new().hard(b"h", b"../outside/canary").end(), LINK, LINK),
        ("an absolute hard link", new().hard(b"h", b"/etc/passwd").end(), LINK, LINK),
        (
            "a hard link through a link",
            new().link(b"l", b"../outside").hard(b"h", b"l/canary").file(b"h").end(),
            LINK,
            LINK,
        ),
        (
            "a hard link through a planted link",
            new().hard(b"h", b"planted/canary").end(),
            LINK,
            LINK,
        ),
        (
            "a hard link to a link",
            new().link(b"l", b"../outside/canary").hard(b"h", b"l").file(b"h").end(),
            LINK,
            LINK,
        ),
        ("a hard link to a planted link", new().hard(b"h", b"planted-file").end(), LINK, LINK),
        ("a hard link to a directory", new().directory(b"d").hard(b"h", b"d").end(), LINK, LINK),
        ("a hard link to itself", new().hard(b"h", b"h").end(), LINK, LINK),
        ("a hard link to the root", new().hard(b"h", b".").end(), LINK, LINK),
        ("a hard link to what comes later", new().hard(b"h", b"f").file(b"f").end(), LINK, LINK),
        ("an empty hard link", new().hard(b"h", b"").end(), LINK, LINK),
        (
            "a hard link to a hard link",
            new().file(b"f").hard(b"g", b"f").hard(b"h", b"g").end(),
            "",
            "",
        ),
        (
            "a hard link outside by pax",
            new().pax(&[("linkpath", b"../canary")]).hard(b"h", b"good").end(),
            LINK,
            LINK,
        ),
        (
            "a hard link outside by a long link",
            new().extension(b'K', b"../canary\0").hard(b"h", b"good").end(),
            LINK,
            LINK,
        ),
        (
            "a hard link with content",
            new().file(b"f").raw(b'1', b"h", b"f", 5, |_| {}).bytes(b"PWNED").end(),
            "archive_malformed",
            "archive_malformed",
        ),
        ("a file as a directory", new().file(b"f").file(b"f/x").end(), NAME, NAME),
        ("an empty link", new().link(b"l", b"").end(), "archive_malformed", "archive_malformed"),
        (
            "a link with NUL",
            new().pax(&[("linkpath", b"a\0b")]).link(b"l", b"x").end(),
            "archive_malformed",
            "archive_malformed",
        ),
        (
            "a file that comes twice",
            new().file(b"f").file(b"f").end(),
            "",
            "archive_duplicate_member",
        ),
        (
            "a directory that comes twice",
            new().directory(b"d").directory(b"d/").file(b"d/f").end(),
            "",
            "",
        ),
        ("a file over a directory with content", new().file(b"full").end(), "archive_conflict", ""),
    ]
}

fn lies() -> Vec<Case> {
    const BAD: &str = "archive_malformed";
    const CUT: &str = "archive_truncated";
    const LARGE: &str = "archive_too_large";
    const TYPE: &str = "archive_unsupported_member";
    let new = Tar::default;
    let sparse = |map: &[u8], real: &[u8]| {
        let mut content = map.to_vec();
        content.resize(512, 0);
        content.extend_from_slice(b"PWNED");
        new()
            .pax(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"s"),
                ("GNU.sparse.realsize", real),
            ])
            .raw(b'0', b"x", b"", content.len() as u64, |_| {})
            .bytes(&content)
            .end()
    };
    let old = |fields: [&'static [u8; 11]; 2], real: &'static [u8; 11]| {
        new()
            .raw(b'S', b"s", b"", 5, |header| {
                header[257..265].copy_from_slice(b"ustar  \0");
                header[386..397].copy_from_slice(fields[0]);
                header[398..409].copy_from_slice(fields[1]);
                header[483..494].copy_from_slice(real);
            })
            .bytes(b"PWNED")
            .end()
    };
    let mut twice = new().file(b"a").end();
    twice.extend_from_slice(&new().file(b"b").end());
    let mut garbage = new().file(b"a").end();
    garbage.extend_from_slice(b"garbage");
    let mut lone = new().file(b"a").0;
    lone.extend_from_slice(&[0; 512]);
    lone.extend_from_slice(&new().file(b"b").end());
    let mut broken = new().file(b"a").end();
    broken[0] = b'b';
    let whole = new().file(b"a").end();
    let many = (0..1100).fold(new(), |tar, number| tar.file(format!("f{number}").as_bytes())).end();
    let globals = (0..100).fold(new(), |tar, _| tar.extension(b'g', b"12 comment=\n")).end();
    vec![
        ("nothing", Vec::new(), CUT, CUT),
        ("no end mark", new().file(b"a").0, CUT, CUT),
        ("half a header", whole[..300].to_vec(), CUT, CUT),
        ("half a file", whole[..514].to_vec(), CUT, CUT),
        ("no padding", whole[..517].to_vec(), CUT, CUT),
        ("no archive", vec![b'x'; 2048], BAD, BAD),
        ("a wrong checksum", broken, BAD, BAD),
        ("another archive behind", twice, BAD, BAD),
        ("garbage behind", garbage, BAD, BAD),
        ("a zero block between", lone, BAD, BAD),
        ("a character device", new().member(b'3', b"null", b"").end(), TYPE, TYPE),
        ("a block device", new().member(b'4', b"sda", b"").end(), TYPE, TYPE),
        ("another volume", new().member(b'M', b"a", b"").end(), TYPE, TYPE),
        ("an unknown type", new().member(b'Z', b"a", b"").end(), TYPE, TYPE),
        (
            "a directory with content",
            new().raw(b'5', b"d", b"", 5, |_| {}).bytes(b"PWNED").end(),
            BAD,
            BAD,
        ),
        (
            "a file larger than allowed",
            new().raw(b'0', b"a", b"", 30 << 20, |_| {}).end(),
            LARGE,
            LARGE,
        ),
        (
            "sizes by pax larger than allowed",
            new().pax(&[("size", b"18446744073709551615")]).file(b"a").end(),
            BAD,
            BAD,
        ),
        (
            "a size by pax beyond numbers",
            new().pax(&[("size", b"99999999999999999999999")]).file(b"a").end(),
            BAD,
            BAD,
        ),
        (
            "a size by pax that hides a member",
            new().pax(&[("size", b"0")]).file(b"a").end(),
            BAD,
            BAD,
        ),
        (
            "a negative size",
            new().raw(b'0', b"a", b"", 0, |header| header[124..136].fill(0xff)).end(),
            BAD,
            BAD,
        ),
        (
            "a huge binary size",
            new()
                .raw(b'0', b"a", b"", 0, |header| {
                    header[124..136].fill(0xff);
                    header[124] = 0x80;
                })
                .end(),
            BAD,
            BAD,
        ),
        (
            "letters for a size",
            new().raw(b'0', b"a", b"", 0, |header| header[124] = b'x').end(),
            BAD,
            BAD,
        ),
        (
            "a negative mode",
            new().raw(b'0', b"a", b"", 0, |header| header[100..108].fill(0xff)).end(),
            BAD,
            BAD,
        ),
        (
            "a huge mode",
            new()
                .raw(b'0', b"a", b"", 0, |header| header[100..107].copy_from_slice(b"7777644"))
                .end(),
            "",
            "",
        ),
        (
            "a negative time",
            new().raw(b'0', b"a", b"", 0, |header| header[136..148].fill(0xff)).end(),
            "",
            "",
        ),
        (
            "a time beyond numbers",
            new()
                .raw(b'0', b"a", b"", 0, |header| {
                    header[136..148].fill(0x7f);
                    header[136] = 0x80;
                })
                .end(),
            BAD,
            BAD,
        ),
        ("a time by pax that is none", new().pax(&[("mtime", b"1e9")]).file(b"a").end(), BAD, BAD),
        (
            "a huge time by pax",
            new().pax(&[("mtime", b"9223372036854775807.9")]).file(b"a").end(),
            "",
            "",
        ),
        (
            "a huge owner",
            new().raw(b'0', b"a", b"", 0, |header| header[108..124].fill(0xff)).end(),
            "",
            "",
        ),
        ("too many members", many, LARGE, LARGE),
        ("global headers without end", globals, BAD, BAD),
        (
            "a global header with a name",
            new().extension(b'g', b"18 path=../canary\n").file(b"a").end(),
            BAD,
            BAD,
        ),
        ("a huge extended header", new().raw(b'x', b"a", b"", 2 << 20, |_| {}).end(), LARGE, LARGE),
        (
            "a long name of gigabytes",
            new().raw(b'L', b"a", b"", 4 << 30, |_| {}).end(),
            LARGE,
            LARGE,
        ),
        (
            "two extended headers",
            new().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file(b"c").end(),
            BAD,
            BAD,
        ),
        ("an extended header of nothing", new().pax(&[("path", b"a")]).end(), BAD, BAD),
        (
            "a record longer than its header",
            new().extension(b'x', b"99 path=a\n").file(b"c").end(),
            BAD,
            BAD,
        ),
        (
            "a record without a length",
            new().extension(b'x', b"path=a\n").file(b"c").end(),
            BAD,
            BAD,
        ),
        ("a record of no length", new().extension(b'x', b"0 path=a\n").file(b"c").end(), BAD, BAD),
        ("a record without a value", new().extension(b'x', b"7 path\n").file(b"c").end(), BAD, BAD),
        ("holes that overlap", sparse(b"2\n0\n3\n1\n2\n", b"10"), BAD, BAD),
        ("holes beyond the end", sparse(b"1\n8\n5\n", b"10"), BAD, BAD),
        ("holes beyond numbers", sparse(b"1\n18446744073709551615\n5\n", b"10"), BAD, BAD),
        ("more data than is stored", sparse(b"1\n0\n9\n", b"10"), BAD, BAD),
        ("less data than is stored", sparse(b"1\n0\n1\n", b"10"), BAD, BAD),
        ("more holes than there can be", sparse(b"99999999\n0\n1\n", b"10"), BAD, BAD),
        ("a map of letters", sparse(b"1\nx\n5\n", b"10"), BAD, BAD),
        ("a map that does not end", sparse(b"1\n0\n", b"10"), BAD, BAD),
        ("a sparse file larger than allowed", sparse(b"1\n0\n5\n", b"1000000000000"), LARGE, LARGE),
        ("an honest sparse file", sparse(b"1\n2\n5\n", b"10"), "", ""),
        (
            "an old map beyond the end",
            old([b"00000000010", b"00000000005"], b"00000000012"),
            BAD,
            BAD,
        ),
        (
            "an old map that is honest",
            old([b"00000000010", b"00000000005"], b"00000000100"),
            "",
            "",
        ),
        (
            "a sparse directory",
            new()
                .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")])
                .directory(b"d")
                .end(),
            BAD,
            BAD,
        ),
        (
            "an unknown sparse format",
            new().pax(&[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0")]).file(b"d").end(),
            BAD,
            BAD,
        ),
    ]
}

/// All of them, with those that are harmless.
pub(crate) fn cases() -> Vec<Case> {
    [names(), links(), lies()].concat()
}
