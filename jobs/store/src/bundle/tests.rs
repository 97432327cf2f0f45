use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use tempfile::TempDir;

use super::{pack::pack_within, unpack::unpack_within, *};

fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

/// An archive with entries as they are given, however hostile.
fn archive(entries: &[(tar::EntryType, &str, &str)]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let encoder = zstd::Encoder::new(file.as_file().try_clone().unwrap(), 1).unwrap();
    let mut builder = tar::Builder::new(encoder);
    for (kind, name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let data = if kind.is_file() { content.as_bytes() } else { &[] };
        if !kind.is_file() {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(crate::transfer::length(data.len()));
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap();
    file
}

fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = ignore::WalkBuilder::new(dir)
        .standard_filters(false)
        .build()
        .map(|e| e.unwrap().path().strip_prefix(dir).unwrap().display().to_string())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let long = format!("{}/{}.py", "d".repeat(120), "f".repeat(120));
    let source =
        tree(&[("train.py", "print()"), ("lib/net.py", "x"), (".env", "A=1"), (&long, "l")]);
    fs::create_dir(source.path().join("outputs")).unwrap();
    fs::set_permissions(source.path().join("train.py"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("../train.py", source.path().join("lib/main.py")).unwrap();
    let packed = pack(source.path()).unwrap();
    assert_eq!((packed.files, packed.bytes), (5, packed.file.path().metadata().unwrap().len()));
    assert_eq!(packed.digest, trainyard_jobs::Digest::of(&fs::read(packed.file.path()).unwrap()));

    let work = tempfile::tempdir().unwrap();
    let dest = work.path().join("job/code");
    unpack(packed.file.path(), &dest).unwrap();
    assert_eq!(listing(&dest), listing(source.path()));
    assert_eq!(fs::read_to_string(dest.join("lib/main.py")).unwrap(), "print()");
    assert_eq!(fs::read_to_string(dest.join(&long)).unwrap(), "l");
    let mode = |name: &str| dest.join(name).metadata().unwrap().permissions().mode() & 0o111;
    assert_eq!((mode("train.py"), mode("lib/net.py")), (0o111, 0));
    assert_eq!(pack(&dest).unwrap().digest, packed.digest, "a copy has the same digest");
}

#[test]
fn equal_trees_have_equal_digests_whatever_their_order_and_age() {
    let one = tree(&[("b", "2"), ("a/z", "1"), ("a.x", "3")]);
    let two = tree(&[("a.x", "3"), ("a/z", "1"), ("b", "2")]);
    let old = fs::File::options().write(true).open(two.path().join("b")).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs::set_permissions(two.path().join("b"), fs::Permissions::from_mode(0o600)).unwrap();
    let digest = pack(one.path()).unwrap().digest;
    assert_eq!(digest, pack(two.path()).unwrap().digest);
    fs::write(two.path().join("b"), "changed").unwrap();
    assert_ne!(digest, pack(two.path()).unwrap().digest);
}

#[test]
fn what_gitignore_names_stays_at_home() {
    let source = tree(&[
        (".gitignore", "*.pt\n/data/\n!keep.pt\n"),
        (".git/config", "secret"),
        ("sub/.gitignore", "local.txt\n"),
        ("sub/.git/config", "secret"),
        ("sub/local.txt", "x"),
        ("local.txt", "x"),
        ("data/big", "x"),
        ("sub/data/small", "x"),
        ("a.pt", "x"),
        ("keep.pt", "x"),
        (".ignore", "train.py"),
        ("train.py", "x"),
    ]);
    let packed = pack(source.path()).unwrap();
    let dest = tempfile::tempdir().unwrap();
    unpack(packed.file.path(), dest.path()).unwrap();
    let expected = [
        ".gitignore",
        ".ignore",
        "keep.pt",
        "local.txt",
        "sub",
        "sub/.gitignore",
        "sub/data",
        "sub/data/small",
        "train.py",
    ];
    assert_eq!(listing(dest.path()), expected);
    let sub = pack(&source.path().join("sub")).unwrap();
    assert_eq!(sub.files, 2, "the rules of the folders above hold too");
}

#[test]
fn a_directory_that_cannot_travel_says_why() {
    let missing = pack(Path::new("/no/such/dir")).unwrap_err().to_string();
    assert!(missing.contains("workdir"), "{missing}");
    for target in ["/etc/passwd", "../elsewhere", "a/../../x"] {
        let source = tree(&[("a/f", "x")]);
        symlink(target, source.path().join("link")).unwrap();
        let error = pack(source.path()).unwrap_err();
        assert!(matches!(error, BundleError::LinkOutside { .. }), "{target}: {error}");
    }
    let source = tree(&[]);
    let _socket = std::os::unix::net::UnixListener::bind(source.path().join("s")).unwrap();
    assert!(matches!(pack(source.path()), Err(BundleError::Unsupported { .. })));
}

#[test]
fn both_ways_are_bounded() {
    let source = tree(&[("a", "12345"), ("b", "12345")]);
    let packed = pack(source.path()).unwrap();
    for (bytes, entries, fits) in [(10, 2, true), (9, 2, false), (10, 1, false)] {
        let limits = Limits { bytes, entries };
        let dest = tempfile::tempdir().unwrap();
        let results = [
            pack_within(source.path(), limits).map(drop),
            unpack_within(packed.file.path(), dest.path(), limits),
        ];
        for result in results {
            assert_eq!(result.is_ok(), fits, "{limits:?}");
            assert!(matches!(result, Ok(()) | Err(BundleError::TooLarge { .. })));
        }
    }
}

#[test]
fn hostile_archives_do_not_get_out() {
    use tar::EntryType as Kind;
    let outside = tempfile::tempdir().unwrap();
    let away = outside.path().to_str().unwrap();
    let cases: &[&[(Kind, &str, &str)]] = &[
        &[(Kind::Regular, "../evil", "x")],
        &[(Kind::Regular, "/tmp/trainyard-evil", "x")],
        &[(Kind::Regular, "a/../../evil", "x")],
        &[(Kind::Directory, "..", "")],
        &[(Kind::Symlink, "l", away)],
        &[(Kind::Symlink, "l", "..")],
        &[(Kind::Symlink, "l", "")],
        &[(Kind::Symlink, "a/l", "../../x")],
        // Each link alone looks harmless: `e` climbs from where `d` leads, not from `a/b`.
        &[(Kind::Symlink, "a/b/d", "../../x"), (Kind::Symlink, "a/b/e", "d/../..")],
        // A link below a link.
        &[(Kind::Symlink, "a", "b"), (Kind::Symlink, "a/c", "../x")],
        &[(Kind::Regular, "f", "x"), (Kind::Symlink, "f", "b")],
        &[(Kind::Regular, "f", "x"), (Kind::Regular, "f", "y")],
        &[(Kind::Regular, "f", "x"), (Kind::Regular, "f/g", "y")],
        &[(Kind::Link, "hard", "/etc/passwd")],
        &[(Kind::Char, "null", "")],
        &[(Kind::Fifo, "pipe", "")],
        &[(Kind::GNUSparse, "sparse", "")],
    ];
    for entries in cases {
        let work = tempfile::tempdir().unwrap();
        let dest = work.path().join("in/dest");
        let result = unpack(archive(entries).path(), &dest);
        assert!(result.is_err(), "{entries:?}");
        let strays: Vec<String> =
            listing(work.path()).into_iter().filter(|n| !n.starts_with("in")).collect();
        assert!(strays.is_empty(), "{entries:?}: {strays:?}");
        assert!(!dest.join("../evil").exists() && !Path::new("/tmp/trainyard-evil").exists());
    }
    assert_eq!(listing(outside.path()).len(), 0);
}

/// Nothing is written through a link: links come last, wherever they stand in the archive.
#[test]
fn a_file_below_a_link_is_not_written_through_it() {
    use tar::EntryType as Kind;
    let entries = [(Kind::Symlink, "l", "real"), (Kind::Regular, "l/f", "x")];
    let work = tempfile::tempdir().unwrap();
    assert!(unpack(archive(&entries).path(), work.path()).is_err());
    assert!(!work.path().join("real/f").exists());
}

#[test]
fn what_is_no_archive_or_lies_about_its_sizes_is_refused() {
    let work = tempfile::tempdir().unwrap();
    let garbage = tree(&[("g", "not zstd at all")]);
    let error = unpack(&garbage.path().join("g"), work.path()).unwrap_err();
    assert!(matches!(error, BundleError::Malformed { .. }), "{error}");

    // A "long name" of 64 MiB of zeros, a few KiB compressed, would be read into memory.
    let bomb = tempfile::NamedTempFile::new().unwrap();
    let mut encoder = zstd::Encoder::new(bomb.as_file().try_clone().unwrap(), 1).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(64 << 20);
    header.set_cksum();
    encoder.write_all(header.as_bytes()).unwrap();
    for _ in 0..64 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap();
    let error = unpack(bomb.path(), work.path()).unwrap_err();
    assert!(matches!(error, BundleError::Malformed { .. }), "{error}");
}
