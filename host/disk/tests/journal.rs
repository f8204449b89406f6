//! A disk that was not unmounted: what its journal holds counts.

mod images;

use std::{fs, process::Command};

use images::{Images, names, text};
use pyro_disk::{DiskError, View};

fn block_of(images: &Images, path: &str) -> String {
    let said = images.debugfs(&[&format!("blocks {path}")]);
    let blocks = said.lines().find(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    blocks.unwrap_or_else(|| panic!("{said}")).trim().to_owned()
}

fn block(content: &[u8]) -> Vec<u8> {
    let mut block = content.to_vec();
    block.resize(4096, 0);
    block
}

/// A disk with three files, transactions in its journal, and what each file holds afterwards.
fn written(open: &str) -> Images {
    let images = Images::new();
    for name in ["first", "second", "third"] {
        images.write(&format!("disk/workspace/upper/{name}"), "as it was");
    }
    images.ext4(&[]);
    let [first, second, third] = ["first", "second", "third"]
        .map(|name| block_of(&images, &format!("/workspace/upper/{name}")));
    for (name, content) in
        [("one", b"newer one" as &[u8]), ("two", b"newer two"), ("odd", b"\xc0\x3b\x39\x98 odd!")]
    {
        images.write(name, block(content));
    }
    let [one, two, odd] = ["one", "two", "odd"].map(|it| images.path(it).display().to_string());
    images.debugfs(&[
        open,
        &format!("jw -b {first} {one}"),
        &format!("jw -b {second} {one}"),
        &format!("jw -r {second}"),
        &format!("jw -b {first} {two}"),
        &format!("jw -b {third} {odd}"),
        "jc",
    ]);
    images
}

#[test]
fn committed_transactions_are_read_in_their_order_and_revoked_blocks_are_not() {
    for open in ["jo", "jo -c", "jo -c -v 2", "jo -c -v 3"] {
        let images = written(open);
        let view = images.view();
        assert_eq!(text(&view, "/workspace/first"), "newer two", "{open}");
        assert_eq!(text(&view, "/workspace/second"), "as it was", "{open}");
        let third = view.read(b"/workspace/third", 0, 100).unwrap().content;
        assert_eq!(third, b"\xc0\x3b\x39\x98 odd!"[..third.len()], "{open}");
        let listed = names(&view, "/workspace");
        assert_eq!(listed, ["/workspace/first", "/workspace/second", "/workspace/third"]);

        // The referee: e2fsck's own recovery.
        let mut command = Command::new("e2fsck");
        let output = command
            .args(["-p", "-E", "journal_only"])
            .arg(images.path("disk.ext4"))
            .output()
            .unwrap();
        assert!(output.status.code().is_some_and(|code| code < 4), "{open}: {output:?}");
        let view = images.view();
        assert_eq!(text(&view, "/workspace/first"), "newer two", "{open}");
        assert_eq!(text(&view, "/workspace/second"), "as it was", "{open}");
    }
}

#[test]
fn a_journal_that_cannot_be_read_is_told() {
    let images = written("jo");
    let place = block_of(&images, "<8>").split(' ').next().unwrap().parse::<usize>().unwrap();
    let mut bytes = fs::read(images.path("disk.ext4")).unwrap();
    bytes[place * 4096..][..4].fill(0);
    fs::write(images.path("disk.ext4"), bytes).unwrap();
    let root = images.squashfs("root", "zstd");
    let error = View::open(images.disks(&root, None)).unwrap_err();
    assert!(matches!(error, DiskError::NeedsRecovery(_)), "{error}");
}
