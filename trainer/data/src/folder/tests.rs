//! Tests of how a folder is read.

use super::*;

/// Makes empty files.
fn touch(folder: &Path, files: &[&str]) {
    for file in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, []).unwrap();
    }
}

/// The usual question about `folder`.
fn ask(folder: &Path) -> Ask<'_> {
    Ask { folder, flat: false, test_folder: None, test_share: None }
}

fn find(folder: &Path) -> Result<Folder, DataError> {
    Folder::find(&ask(folder))
}

fn shared(folder: &Path, share: f64) -> Ask<'_> {
    Ask { test_share: Some(share), ..ask(folder) }
}

fn names(part: &Part) -> Vec<(String, u32)> {
    let name = |listed: &Listed| listed.path.strip_prefix(&part.folder).unwrap().display().to_string();
    part.files.iter().map(|listed| (name(listed), listed.label)).collect()
}

/// What a training on `folder` is refused for; it holds all `words`.
fn refused(folder: &Path, words: &[&str]) -> String {
    let error = find(folder).unwrap_err().to_string();
    words.iter().for_each(|word| assert!(error.contains(word), "{word}: {error}"));
    error
}

#[test]
fn classes_are_numbered_by_name_and_images_found_below_them() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        "train/b/2.JPG",
        "train/b/1.png",
        "train/a/x/9.jpeg",
        "train/a/.hidden.png",
        "train/a/.x/1.png",
        "train/a/n.txt",
        "train/a/phone.HEIC",
    ];
    touch(dir.path(), &files);
    touch(dir.path(), &["train/stray.png", "train/.git/x.png", "val/a/1.png", "val/b/1.png"]);
    let found = find(dir.path()).unwrap();
    assert_eq!(*found.train.classes, ["a", "b"]);
    let expected = [("a/x/9.jpeg", 0), ("b/1.png", 1), ("b/2.JPG", 1)];
    assert_eq!(names(&found.train), expected.map(|(name, label)| (name.to_owned(), label)));
    let ignored = [("stray.png", None), ("a/n.txt", Some(0)), ("a/phone.HEIC", Some(0))];
    let ignored = ignored.map(|(name, class)| Ignored { file: dir.path().join("train").join(name), class });
    assert_eq!(found.train.ignored, ignored);
    assert_eq!(by_ending(found.train.ignored.iter()), ([("heic".to_owned(), 1)].into(), 2));
    assert_eq!(found.train.left_out, ["train/.git", "train/a/.x"].map(|name| dir.path().join(name)));
    assert_eq!(
        (&found.test.folder, &found.validation, found.test_share),
        (&dir.path().join("val"), &None, None)
    );
    assert!(found.test.line("test").contains("(there is no folder test): 2 images in 2 classes"));
    // Beside a test part, `val` is for validation.
    touch(dir.path(), &["test/a/1.png", "test/b/1.png"]);
    let found = find(dir.path()).unwrap();
    assert_eq!(found.test.folder, dir.path().join("test"));
    assert_eq!(found.validation.unwrap().folder, dir.path().join("val"));
    assert_eq!(find_test(&ask(dir.path()), None).unwrap().folder, dir.path().join("test"));
    let (train, val) = (dir.path().join("train"), dir.path().join("val"));
    let elsewhere = Folder::find(&Ask { test_folder: Some(&val), ..ask(&train) }).unwrap();
    assert_eq!((elsewhere.test.files.len(), elsewhere.rule), (2, Rule { flat: false, elsewhere: true }));
}

#[test]
fn a_share_of_each_class_is_held_back_the_same_every_time() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..10 {
        touch(dir.path(), &[&format!("a/{number}.png"), &format!("b/{number}.png")]);
    }
    let found = Folder::find(&shared(dir.path(), 0.3)).unwrap();
    assert_eq!((found.train.files.len(), found.test.files.len(), found.test_share), (14, 6, Some(0.3)));
    assert_eq!(found.test.by_class(), [3, 3]);
    let mut all = [names(&found.train), names(&found.test)].concat();
    all.sort();
    assert_eq!(all, names(&find_test(&ask(dir.path()), None).unwrap()));
    assert_eq!(find_test(&shared(dir.path(), 0.3), Some(found.rule)).unwrap(), found.test);
    // The same files at another place, and with a file more all but one at most.
    let moved = dir.path().join("moved");
    for number in 0..11 {
        touch(&moved, &[&format!("a/{number}.png"), &format!("b/{number}.png")]);
    }
    let more = names(&find_test(&shared(&moved, 0.3), None).unwrap());
    assert!(names(&found.test).iter().filter(|name| !more.contains(name)).count() <= 2);
    std::fs::remove_dir_all(&moved).unwrap();
    for share in [0.0, 1.0, f64::NAN] {
        let error = find_test(&shared(dir.path(), share), None).unwrap_err().to_string();
        assert!(error.contains("above 0 and below 1"), "{error}");
    }
    touch(dir.path(), &["c/only.png"]);
    refused(dir.path(), &["class c has one image only", "--test-data"]);
}

#[test]
fn names_of_parts_count_in_any_case_and_never_beside_classes() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = |name: &str, files: &[&str]| {
        touch(&dir.path().join(name), files);
        dir.path().join(name)
    };
    let capitals = fresh("capitals", &["Train/a/1.png", "Train/b/1.png", "TEST/a/1.png", "docs/read.md"]);
    let found = find(&capitals).unwrap();
    assert_eq!(
        (found.test.folder, found.train.left_out),
        (capitals.join("TEST"), vec![capitals.join("docs")])
    );

    // A class called as a part is: nothing is guessed.
    let trains = fresh("trains", &["train/steam/1.png", "train/diesel/1.png", "bus/1.png", "car/1.png"]);
    refused(&trains, &["train beside bus, car", "--flat", "move bus, car away"]);
    let flat = |folder| Ask { flat: true, test_share: Some(0.5), ..ask(folder) };
    touch(&trains, &["bus/2.png", "car/2.png"]);
    let found = Folder::find(&flat(&trains)).unwrap();
    assert_eq!(
        (&**found.train.classes, found.rule.flat),
        (&["bus", "car", "train"].map(str::to_owned)[..], true)
    );
    // What the training was told reaches the test.
    let test = find_test(&shared(&trains, 0.5), Some(found.rule)).unwrap();
    assert_eq!(test, found.test);
    assert!(find_test(&shared(&trains, 0.5), None).is_err());

    let wide = fresh("wide", &["cat/1.png", "dog/1.png"]);
    let unlabelled = fresh("unlabelled", &["cat/1.png", "dog/1.png", "test/1.png"]);
    refused(&unlabelled, &["test beside cat, dog", "--flat", "into a folder train beside it", "--test-data"]);
    // Named as the test images it is no class.
    let test = fresh("tests", &["cat/1.png", "dog/1.png", "test/cat/2.png", "test/dog/3.png"]);
    let found = Folder::find(&Ask { test_folder: Some(&test.join("test")), ..ask(&test) }).unwrap();
    assert_eq!((found.train.classes.len(), found.test.files.len()), (2, 2));

    let both = fresh("both", &["train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/2.png"]);
    refused(&both, &["both val and valid could hold the validation images", "--flat"]);
    let bare = fresh("bare", &["train/a/1.png", "train/b/1.png", "test/1.png", "test/2.png"]);
    let said = refused(
        &bare,
        &["bare/test", "nothing says what its 2 images show (put them into a folder for each class, or move"],
    );
    assert!(!said.contains("--flat"), "{said}");
    // Two classes that are called as parts are.
    let called = fresh("called", &["train/1.png", "train/2.png", "test/1.png", "test/2.png"]);
    let path = called.display();
    refused(
        &called,
        &["called/train: no class folders", &format!("one class of {path}, name {path}, with --flat")],
    );
    assert_eq!(**Folder::find(&flat(&called)).unwrap().train.classes, ["test", "train"]);
    // One class folder named by itself.
    let one = find_test(&ask(&called.join("train")), None).unwrap_err().to_string();
    assert!(one.contains(&format!("name {path}, with --flat")), "{one}");
    let one = find_test(&ask(&wide.join("cat")), None).unwrap_err().to_string();
    assert!(
        one.ends_with(&format!("show (if it is one class of {}, name {0}); {LAYOUT}", wide.display())),
        "{one}"
    );
    let tests = fresh("only", &["test/a/1.png", "val/b/1.png"]);
    refused(&tests, &["no folder train", "--flat"]);
    assert_eq!(find_test(&ask(&tests), None).unwrap().folder, tests.join("test"));
    let train = fresh("train-only", &["train/a/1.png", "train/b/1.png"]);
    let error = find_test(&ask(&train), None).unwrap_err().to_string();
    assert!(error.contains("no test images"), "{error}");
    let wrapped = fresh("wrapped", &["photos/a/1.png", "photos/b/1.png"]);
    refused(&wrapped, &["one class folder only (photos)", "the 2 folders in", "wrapped/photos"]);
    // A data set in parts in a folder of its own.
    let nest = fresh("nest", &["photos/train/a/1.png", "photos/train/b/1.png", "photos/test/a/1.png"]);
    let said =
        refused(&nest, &["nothing but photos, which is a data set itself, with test and train in it: name "]);
    assert!(said.ends_with("nest/photos"), "{said}");
    assert_eq!(find_test(&ask(&nest), None).unwrap_err().to_string(), said);
}

/// How images are to lie.
const LAYOUT: &str =
    "images lie in a folder for each class: DIR/CLASS/image.jpg, or DIR/train/CLASS and DIR/test/CLASS";

#[test]
fn training_images_are_told_from_test_images() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["train/a/1.png", "train/b/1.png", "train/b/deep/2.png", "test/a/1.png", "test/b/1.png"];
    touch(dir.path(), &files.map(|file| format!("photos/{file}")).each_ref().map(String::as_str));
    touch(dir.path(), &["new/a/1.png"]);
    let (photos, new) = (dir.path().join("photos"), dir.path().join("new"));
    let doubts = |folder: &Path, test: Option<&Path>| {
        find_test(&Ask { test_folder: test, ..ask(folder) }, None).unwrap().doubts
    };
    assert_eq!(doubts(&photos, None), [""; 0]);
    assert_eq!(doubts(&photos, Some(&new)), [""; 0]);
    let whole = doubts(&photos.join("train"), None);
    let expected = format!(
        "called train holds the images of a training as a rule, and the accuracy on those says nothing of new \
        pictures; test images are in {}",
        photos.join("test").display()
    );
    assert!(whole.len() == 1 && whole[0].ends_with(&expected), "{whole:?}");
    let all = doubts(&photos, Some(&photos.join("train")));
    let of_all =
        format!("3 of 3 test images lie in {}, the folder with the training", photos.join("train").display());
    // Tested as a whole, and by its name.
    assert!(all.iter().any(|doubt| doubt.starts_with(&of_all)), "{all:?}");
    assert_eq!(all.len(), 2);
    #[cfg(unix)]
    {
        let link = dir.path().join("other");
        std::os::unix::fs::symlink(photos.join("train"), &link).unwrap();
        assert!(doubts(&photos, Some(&link)).iter().any(|doubt| doubt.starts_with(&of_all)));
        assert_eq!(doubts(&link, None), whole);
        std::fs::remove_dir_all(photos.join("test")).unwrap();
        std::os::unix::fs::symlink(photos.join("train"), photos.join("test")).unwrap();
        assert!(doubts(&photos, None)[0].starts_with(&of_all));
    }
    // Deeper in the training folder; right below it, it is no class of it.
    touch(
        dir.path(),
        &["flat/a/x/1.png", "flat/a/y/1.png", "flat/b/1.png", "flat/held/a/1.png", "flat/held/b/1.png"],
    );
    let flat = dir.path().join("flat");
    assert!(doubts(&flat, Some(&flat.join("a")))[..].is_empty());
    assert!(doubts(&flat, Some(&flat.join("held"))).is_empty());
    assert_eq!(doubts(&flat, Some(&flat)).len(), 1);
    touch(dir.path(), &["flat/c/new/a/1.png", "flat/c/new/b/1.png"]);
    let deep = doubts(&flat, Some(&flat.join("c/new")));
    assert!(deep.len() == 1 && deep[0].starts_with("2 of 2 test images lie in "), "{deep:?}");
}

#[test]
fn test_images_of_another_folder_are_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), &["photos/a/1.png", "photos/b/1.png", "new/a/2.png", "new/b/2.png"]);
    let (photos, new) = (dir.path().join("photos"), dir.path().join("new"));
    let apart = Ask { test_folder: Some(&new), ..ask(&photos) };
    let rule = Folder::find(&apart).unwrap().rule;
    let error = find_test(&ask(&photos), Some(rule)).unwrap_err().to_string();
    assert!(error.contains("--test-data"), "{error}");
    assert_eq!(find_test(&apart, Some(rule)).unwrap().folder, new);
    for rule in [rule, Rule::default(), Rule { flat: true, elsewhere: true }] {
        assert_eq!(rule.to_string().parse(), Ok(rule));
    }
}

#[test]
fn a_test_folder_may_lack_classes_but_training_none() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), &["train/a/1.png", "train/b/1.png", "train/c/1.png", "test/c/1.png", "test/a/1.txt"]);
    std::fs::create_dir_all(dir.path().join("test/zoo")).unwrap();
    let found = find(dir.path()).unwrap();
    assert_eq!((names(&found.test), found.test.classes.len()), (vec![("c/1.png".to_owned(), 2)], 3));
    assert_eq!(found.test.ignored[0].class, Some(0));
    assert!(found.test.line("test").ends_with("1 image in 1 of 3 classes"));
    touch(dir.path(), &["test/d/1.png"]);
    let error = refused(dir.path(), &["other classes than", "only here: d"]);
    assert!(!error.contains("zoo"), "{error}");
    std::fs::remove_dir_all(dir.path().join("test/d")).unwrap();
    touch(dir.path(), &["train/d/1.heic", "train/d/2.HEIC"]);
    refused(
        dir.path(),
        &["for training in class folder d", "2 .heic", "or remove the folder, and those of its name"],
    );
    // That way out is one.
    std::fs::remove_dir_all(dir.path().join("train/d")).unwrap();
    find(dir.path()).unwrap();
}

#[test]
fn folders_of_systems_are_no_classes() {
    let dir = tempfile::tempdir().unwrap();
    let junk = ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "lost+found", "$RECYCLE.BIN", ".thumbnails"];
    for name in junk {
        touch(dir.path(), &[&format!("{name}/1.png"), &format!("a/{name}/1.png")]);
    }
    touch(
        dir.path(),
        &["a/1.png", "a/2.png", "b/1.png", "b/2.png", "a/.picasaoriginals/1.png", "a/Thumbs.db"],
    );
    let found = find(dir.path()).unwrap();
    assert_eq!((found.train.classes.len(), found.train.files.len()), (2, 2));
    assert_eq!(found.train.left_out.len(), 2 * junk.len() + 1);
}

#[cfg(unix)]
#[test]
fn what_cannot_be_opened_is_a_bad_image_and_no_end() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let class = dir.path().join("a");
    touch(dir.path(), &["a/1.png", "a/2.png", "b/1.png", "b/2.png", "a/deep/3.png"]);
    symlink("nowhere.png", class.join("gone.png")).unwrap();
    symlink(".", class.join("loop")).unwrap();
    symlink("..", class.join("deep/up")).unwrap();
    symlink(dir.path(), class.join("deep/over")).unwrap();
    symlink("absent", dir.path().join("c")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(class.join("socket.png")).unwrap();
    let pipe = class.join("pipe.jpg");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let found = find(dir.path()).unwrap().train;
    assert_eq!(*found.classes, ["a", "b"]);
    let reason = |name: &str| {
        let bad = found.bad.iter().find(|bad| bad.file == dir.path().join(name));
        bad.unwrap_or_else(|| panic!("{name}: {:?}", found.bad)).reason.clone()
    };
    assert_eq!(reason("a/gone.png"), "a link to nowhere.png, which is not there");
    assert_eq!(reason("c"), "a link to absent, which is not there");
    for name in ["a/loop", "a/deep/up", "a/deep/over"] {
        assert_eq!(reason(name), "a link back to a folder above it");
    }
    for name in ["a/socket.png", "a/pipe.jpg"] {
        assert!(reason(name).contains("no file"), "{name}");
    }
    assert_eq!((found.bad.len(), found.files.len()), (7, 3));
}

#[cfg(target_os = "linux")]
#[test]
fn names_of_classes_that_cannot_be_told_apart_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), &["caf\u{e9}/1.png", "cafe\u{301}/1.png", "tea/1.png"]);
    refused(dir.path(), &["two class folders of one name", "caf\\u{e9}", "cafe\\u{301}"]);
    std::fs::remove_dir_all(dir.path().join("caf\u{e9}")).unwrap();
    touch(
        dir.path(),
        &["cafe\u{301}/2.png", "tea/2.png", "a,b/1.png", "a,b/2.png", "a;b/1.png", "a;b/2.png"],
    );
    let found = find(dir.path()).unwrap();
    assert_eq!(*found.train.classes, ["a,b", "a;b", "caf\u{e9}", "tea"]);
    // Latin-1, as an old archive unpacks it.
    std::fs::create_dir(dir.path().join(OsStr::from_bytes(b"caf\xe9"))).unwrap();
    refused(dir.path(), &["caf\\xe9", "no UTF-8", "rename it"]);
}
