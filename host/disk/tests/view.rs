//! What a guest would see, from images that the usual programs made.

mod images;

use std::{
    fs,
    io::Read,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
};

use images::{Images, names, text};
use pyro_change::{Kind, Layer, Marker, Tree};
use pyro_disk::{DiskError, View};

#[test]
fn both_layers_are_merged_as_the_kernel_does() {
    let images = Images::new();
    images.write("seed/kept", "from the seed");
    images.write("seed/changed", "from the seed");
    images.write("seed/removed", "from the seed");
    images.write("seed/shared/a", "seed");
    images.write("seed/shared/b", "seed");
    images.write("seed/replaced/old", "seed");
    images.write("seed/was/deep/file", "moved along");
    images.write("seed/turned/inside", "seed");
    images.write("disk/workspace/upper/changed", "by the guest");
    images.write("disk/workspace/upper/shared/b", "by the guest");
    images.write("disk/workspace/upper/replaced/new", "by the guest");
    images.write("disk/workspace/upper/moved/added", "by the guest");
    images.write("disk/workspace/upper/far/away/added", "by the guest");
    images.write("disk/workspace/upper/turned", "now a file");
    images.ext4(&[]);
    images.debugfs(&[
        "cd /workspace/upper",
        "mknod removed c 0 0",
        "mknod was c 0 0",
        "mknod device c 1 3",
        "ea_set replaced trusted.overlay.opaque y",
        "ea_set moved trusted.overlay.redirect was",
        "ea_set far/away trusted.overlay.redirect /was/deep",
        "ea_set shared trusted.overlay.origin x",
    ]);
    let view = images.view();
    let expected = [
        "/workspace/changed",
        "/workspace/device",
        "/workspace/far",
        "/workspace/far/away",
        "/workspace/far/away/added",
        "/workspace/far/away/file",
        "/workspace/kept",
        "/workspace/moved",
        "/workspace/moved/added",
        "/workspace/moved/deep",
        "/workspace/moved/deep/file",
        "/workspace/replaced",
        "/workspace/replaced/new",
        "/workspace/shared",
        "/workspace/shared/a",
        "/workspace/shared/b",
        "/workspace/turned",
    ];
    assert_eq!(names(&view, "/workspace"), expected);
    assert_eq!(text(&view, "/workspace/changed"), "by the guest");
    assert_eq!(text(&view, "/workspace/shared/a"), "seed");
    assert_eq!(text(&view, "/workspace/moved/deep/file"), "moved along");
    assert_eq!(text(&view, "/workspace/far/away/file"), "moved along");
    let gone = view.read(b"/workspace/removed", 0, 10).unwrap_err();
    assert!(matches!(gone, DiskError::NotFound(_)), "{gone}");
    let device = view.read(b"/workspace/device", 0, 10).unwrap_err();
    assert!(matches!(device, DiskError::NotRegular(_)), "{device}");
    let inside = view.stat(b"/workspace/turned/inside", false).unwrap_err();
    assert!(matches!(inside, DiskError::NotDirectory(_)), "{inside}");

    let touched = view.workspace_layer().touched(b"").unwrap();
    let marker = |name: &str| {
        touched.iter().find(|(it, _)| it == name.as_bytes()).map(|(_, marker)| *marker)
    };
    assert_eq!(marker("changed"), Some(Marker::File));
    assert_eq!(marker("removed"), Some(Marker::Hidden));
    assert_eq!(marker("shared"), Some(Marker::Merged));
    assert_eq!(marker("replaced"), Some(Marker::Apart));
    assert_eq!(marker("moved"), Some(Marker::Apart));
    assert_eq!(marker("kept"), None);
    assert_eq!(view.workspace_layer().touched(b"nowhere").unwrap(), []);

    let tree = view.workspace();
    assert_eq!(tree.names(b"shared").unwrap(), [b"a", b"b"]);
    assert_eq!(tree.meta(b"removed").unwrap(), None);
    assert_eq!(tree.meta(b"kept").unwrap().unwrap().size, 13);
    let mut content = String::new();
    tree.open(b"far/away/file").unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "moved along");
}

#[test]
fn symlinks_stay_inside_as_a_guest_resolves_them() {
    let images = Images::new();
    images.write("root/etc/passwd", "the guest's");
    images.write("root/usr/lib/x", "lib");
    images.link("root/lib", "usr/lib");
    images.write("seed/file", "seed");
    images.link("seed/absolute", "/etc/passwd");
    images.link("seed/climbing", "../../../../etc/passwd");
    images.link("seed/home", "/workspace/file");
    images.link("seed/self", "self");
    images.link("seed/there", "/back");
    images.link("root/back", "/workspace/there");
    images.link("seed/dangling", "/nowhere");
    images.link("seed/directory", "/usr");
    images.write("disk/docker/layers/one", "of docker");
    images.link("disk/root/upper/run", "/var/run");
    images.ext4(&[]);
    let view = images.view();
    for path in ["/workspace/absolute", "/workspace/climbing", "/workspace/../etc/./passwd"] {
        assert_eq!(text(&view, path), "the guest's", "{path}");
    }
    assert_eq!(text(&view, "/workspace/home"), "seed");
    assert_eq!(text(&view, "/lib/x"), "lib");
    assert_eq!(text(&view, "/lib/../lib/x"), "lib");
    assert_eq!(text(&view, "/workspace/directory/lib/x"), "lib");
    for path in ["/workspace/self", "/workspace/there"] {
        let error = view.read(path.as_bytes(), 0, 1).unwrap_err();
        assert!(matches!(error, DiskError::Loop(_)), "{path}: {error}");
    }
    let error = view.read(b"/workspace/dangling", 0, 1).unwrap_err();
    assert!(matches!(error, DiskError::NotFound(_)), "{error}");
    let link = view.stat(b"/workspace/dangling", false).unwrap();
    assert_eq!((link.meta.kind, link.meta.link_target), (Kind::Symlink, Some(b"/nowhere".into())));
    assert_eq!(
        names(&view, "/workspace/directory"),
        ["/workspace/directory/lib", "/workspace/directory/lib/x"]
    );
    let error = view.stat(b"/workspace/file/", true).unwrap_err();
    assert!(matches!(error, DiskError::NotDirectory(_)), "{error}");
}

#[test]
fn directories_of_the_disk_lie_where_the_guest_has_them() {
    let images = Images::new();
    images.write("root/etc/hostname", "image");
    fs::create_dir_all(images.path("root/var/lib/docker")).unwrap();
    fs::create_dir_all(images.path("root/workspace")).unwrap();
    images.write("disk/docker/layers/one", "of docker");
    images.write("disk/root/upper/etc/hostname", "guest");
    images.ext4(&[]);
    let view = images.view();
    assert_eq!(text(&view, "/var/lib/docker/layers/one"), "of docker");
    assert_eq!(text(&view, "/etc/hostname"), "guest");
    assert_eq!(
        names(&view, "/"),
        [
            "/etc",
            "/etc/hostname",
            "/var",
            "/var/lib",
            "/var/lib/docker",
            "/var/lib/docker/layers",
            "/var/lib/docker/layers/one",
            "/workspace",
        ]
    );
}

#[test]
fn contents_modes_times_and_names_are_exact() {
    let images = Images::new();
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for top in ["seed", "disk/workspace/upper"] {
        let prefix = if top == "seed" { "s" } else { "u" };
        images.write(&format!("{top}/{prefix}-large"), &large);
        images.write(&format!("{top}/{prefix}-empty"), "");
        images.write(&format!("{top}/{prefix}-script"), "#!/bin/sh\n");
        let script = images.path(&format!("{top}/{prefix}-script"));
        fs::set_permissions(&script, PermissionsExt::from_mode(0o4755)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_600_000_000, 0);
        fs::File::options().write(true).open(&script).unwrap().set_modified(time).unwrap();
        let odd = images.path(top).join(std::ffi::OsStr::from_bytes(b"odd\xff name"));
        fs::write(odd, "odd").unwrap();
        let sparse = fs::File::create(images.path(&format!("{top}/{prefix}-sparse"))).unwrap();
        sparse.set_len(40 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (40 << 20) - 3).unwrap();
        images.link(&format!("{top}/{prefix}-long"), &"x/".repeat(300));
    }
    images.ext4(&[]);
    for compression in ["zstd", "lz4", "gzip"] {
        let (root, seed) = (images.squashfs("root", "zstd"), images.squashfs("seed", compression));
        let view = View::open(images.disks(&root, Some(&seed))).unwrap();
        for prefix in ["s", "u"] {
            let path = |name: &str| format!("/workspace/{prefix}-{name}").into_bytes();
            let whole = view.read(&path("large"), 0, usize::MAX).unwrap();
            assert!(whole.content == large, "{compression}");
            let part = view.read(&path("large"), 5_000_001, 300_001).unwrap();
            assert!(part.content == large[5_000_001..5_300_002], "{compression}");
            assert_eq!(view.read(&path("large"), u64::MAX, 10).unwrap().content, b"");
            assert_eq!(view.read(&path("empty"), 0, 10).unwrap().content, b"");
            let script = view.stat(&path("script"), false).unwrap().meta;
            assert_eq!((script.mode, script.mtime), (0o4755, (1_600_000_000, 0)));
            let end = view.read(&path("sparse"), (40 << 20) - 5, 10).unwrap();
            assert_eq!(end.content, b"\0\0end");
            let link = view.stat(&path("long"), false).unwrap().meta;
            assert_eq!(link.link_target.unwrap(), "x/".repeat(300).into_bytes());
        }
        assert_eq!(view.read(b"/workspace/odd\xff name", 0, 10).unwrap().content, b"odd");
    }
}

#[test]
fn an_image_of_zeros_is_an_empty_seed() {
    let images = Images::new();
    images.write("disk/workspace/upper/file", "x");
    images.ext4(&[]);
    images.write("zeros", vec![0; 4096]);
    let root = images.squashfs("root", "zstd");
    let zeros = images.path("zeros");
    for seed in [None, Some(&*zeros)] {
        let view = View::open(images.disks(&root, seed)).unwrap();
        assert_eq!(names(&view, "/workspace"), ["/workspace/file"]);
    }
}

#[test]
fn a_directory_comes_out_as_tar() {
    let images = Images::new();
    images.write("seed/a", "seed");
    images.write("seed/d/b", "seed");
    images.write("disk/workspace/upper/d/c", "guest");
    images.link("disk/workspace/upper/d/link", "..//a");
    images.ext4(&[]);
    images.debugfs(&["cd /workspace/upper", "mknod pipe p"]);
    let view = images.view();
    let mut bytes = Vec::new();
    let done = view.archive(b"/workspace", &mut bytes).unwrap();
    assert_eq!((done.entries, done.bytes, done.left_out), (5, 13, 1));
    let mut archive = tar::Archive::new(&*bytes);
    let entries: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let target = entry.link_name_bytes().map(|it| String::from_utf8(it.into()).unwrap());
            (path, content, target)
        })
        .collect();
    let entry = |path: &str, content: &str, target: Option<&str>| {
        (path.to_owned(), content.to_owned(), target.map(str::to_owned))
    };
    assert_eq!(
        entries,
        [
            entry("a", "seed", None),
            entry("d", "", None),
            entry("d/b", "seed", None),
            entry("d/c", "guest", None),
            entry("d/link", "", Some("..//a")),
        ]
    );
    let mut bytes = Vec::new();
    assert_eq!(view.archive(b"/workspace/d/c", &mut bytes).unwrap().entries, 1);
}

#[test]
fn a_list_ends_where_it_is_told_to() {
    let images = Images::new();
    for number in 0..50 {
        images.write(&format!("seed/{number:02}"), "");
    }
    images.ext4(&[]);
    let view = images.view();
    let (found, truncated) = view.list(b"/workspace", true, 10).unwrap();
    assert_eq!((found.len(), truncated), (10, true));
    let (found, truncated) = view.list(b"/workspace", true, 50).unwrap();
    assert_eq!((found.len(), truncated), (50, false));
    let (found, _) = view.list(b"/workspace/07", true, 10).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn large_directories_are_read_whole() {
    let images = Images::new();
    for number in 0..3000 {
        images.write(&format!("disk/workspace/upper/many/file-{number:05}"), number.to_string());
        images.write(&format!("seed/many/file-{:05}", number + 2000), "seed");
    }
    images.ext4(&["-N", "8000"]);
    // The index of a hashed directory.
    images.debugfs(&["htree_dump /workspace/upper/many"]);
    let view = images.view();
    assert_eq!(view.list(b"/workspace/many", true, 1_000_000).unwrap().0.len(), 5000);
    assert_eq!(text(&view, "/workspace/many/file-02999"), "2999");
    assert_eq!(text(&view, "/workspace/many/file-03000"), "seed");
}
