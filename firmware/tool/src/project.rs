//! `lrpet new`: a program of one's own for a board, with a model built in.
//!
//! What of a board's firmware is about the board and not about measuring (clocks, pins, memory map, drivers) is taken from its crate
//! in `firmware/boards`; the rest are the files in `templates`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lrpet_firmware::memory::OTHER_VARIABLES;
use lrpet_runtime::built::{Layout, Room};
use lrpet_runtime::host::MappedModel;
use lrpet_runtime::model::{InputKind, Model, OutputKind};
use serde::Serialize;
use toml::{Table, Value};

use crate::boards::{Board, Runner};
use crate::memory::{ModelMemory, Need, TooLarge};
use crate::sources::root;

/// The crate that boards share.
const SHARED: &str = "lrpet-firmware-cortex-m";
/// The runtime.
const RUNTIME: &str = "lrpet-runtime";

/// Names that a package may have and this one not: words of Rust's, what the program itself calls so, and what it depends on.
const TAKEN: &[&str] = &[
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    "alloc",
    "board",
    "build",
    "camera",
    "log",
    "core",
    "std",
    "cortex_m",
    "cortex_m_rt",
    "defmt",
    "defmt_rtt",
    "embedded_hal",
    "embedded_io",
    "lrpet_firmware_cortex_m",
    "lrpet_model",
    "lrpet_runtime",
    "static_cell",
];

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Project {
    /// Name of the package.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Name of the board.
    pub board: &'static str,
    /// Bytes of RAM that the network takes: activations and scratch.
    pub arena_bytes: usize,
    /// Bytes of flash that weights and tables take.
    pub flash_bytes: usize,
    /// The files, in the folder.
    pub files: Vec<String>,
}

/// Writes a program for `board` with the model in `file` to `folder`, which must not be there, or be empty; the package has the
/// folder's name. `room` is the RAM that the model may take.
///
/// # Errors
/// A name that no package has, a model that is none, that takes no pictures or gives no classes, or that does not fit the board.
pub fn create(folder: &Path, board: &'static Board, file: &Path, room: Room) -> Result<Project> {
    let folder = std::path::absolute(folder)?;
    let name = package_name(&folder)?;
    if folder.exists() {
        let empty = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none());
        ensure!(empty, "{} is there already: name a new folder", folder.display());
    }
    let map = MappedModel::open(file).with_context(|| format!("cannot read the model {}", file.display()))?;
    let model = Model::new_checked(map.bytes()).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    let header = *model.program().header();
    ensure!(
        header.kind == InputKind::Picture && header.result == OutputKind::Classes,
        "{}: the program that is written classifies pictures; this model takes or gives values",
        file.display()
    );
    ensure!(
        model.self_check().is_some(),
        "{}: the model has no self-check, with which the program is tested; `lrpet factorize --data …` writes one",
        file.display()
    );
    let layout =
        Layout::new(&model, board.isa, room).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    let (arena_bytes, image) = (layout.plan.arena_bytes, header.input.len());
    let flash_bytes = layout.flash_bytes();
    let streams = model.program().schedule().has_streams();
    // The program also keeps the image and what a serial line's driver needs.
    let all = (arena_bytes + image + OTHER_VARIABLES) as u64;
    ModelMemory { arena: arena_bytes as u64, all, streams, needs: header.needs }.ensure_fits(board, file)?;
    if flash_bytes as u64 > board.flash {
        let flash = Some(Need { needed: flash_bytes as u64, available: board.flash });
        return Err(
            TooLarge { model: file.display().to_string(), board: board.name, flash, ram: None }.into()
        );
    }
    let crates = root().join("firmware/boards").join(board.package);
    let memory = memory_map(&crates, all)?;
    let text = read(&crates.join("Cargo.toml"))?;
    let profile = profile(&text).with_context(|| format!("{}: no profile", crates.display()))?;
    let manifest: Table = text.parse().with_context(|| format!("{}", crates.display()))?;
    let config = read(&crates.join(".cargo/config.toml"))?;
    let mut features: Vec<&str> = header.needs.features().collect();
    features.extend(streams.then_some("streams"));
    let (dependencies, features) = dependencies(&manifest, &features, board)?;
    let (panic, flashes) = match board.runner {
        Runner::Emulator(_) => {
            ("lrpet_firmware_cortex_m::semihosting::exit_after_panic", " and runs it in QEMU")
        }
        Runner::Chip(_) => {
            let flashes = ", flashes by probe-rs, runs it and shows its log";
            ("lrpet_firmware_cortex_m::crash::after_panic", flashes)
        }
    };
    let probe = board.chip().is_some();
    let of_log = |text| if probe { text } else { "" };
    let ram = match room {
        Room::Least => String::new(),
        Room::Fastest => ", ram = fastest".to_owned(),
        Room::Within(bytes) => format!(", ram = {bytes}"),
    };
    let crate_name = name.replace('-', "_");
    let words = [
        ("name", name.as_str()),
        ("crate", &crate_name),
        ("board", board.name),
        ("model", &file.file_name().unwrap_or_default().to_string_lossy()),
        ("image", &image.to_string()),
        ("arena", &arena_bytes.to_string()),
        ("flash", &flash_bytes.to_string()),
        ("root", &root().to_string_lossy()),
        ("features", &features),
        ("dependencies", &dependencies),
        ("profile", profile),
        ("panic", panic),
        ("flashes", flashes),
        ("ram", &ram),
        ("uart", &uart(&crates)?.unwrap_or_default()),
        ("log module", of_log("\nmod log;")),
        ("camera's log module", of_log("\n#[path = \"../log.rs\"]\nmod log;")),
        ("log start", of_log("\n    log::started();")),
        ("log answer", of_log("\n        log::answered(&said);")),
        (
            "log script",
            of_log(
                "\n        // Where the texts of the log are, of which the board sends numbers.\n        \
                               println!(\"cargo::rustc-link-arg-bins=-Tdefmt.x\");",
            ),
        ),
        ("log file", of_log("\n| `src/log.rs` | the log, which goes to the debug probe: defmt over RTT |")),
    ];
    let fill = |template: &str| {
        words
            .iter()
            .fold(template.to_owned(), |text, (word, value)| text.replace(&format!("{{{{{word}}}}}"), value))
    };
    let board_file = match board.runner {
        Runner::Emulator(_) => fill(include_str!("../templates/emulated.rs")),
        Runner::Chip(_) => start(&read(&crates.join("src/start.rs"))?),
    };
    let mut files = vec![
        ("Cargo.toml", fill(include_str!("../templates/Cargo.toml"))),
        (".cargo/config.toml", cargo_config(&config, board)?),
        (".gitignore", "target\n".to_owned()),
        // The versions that the board's firmware is tested with.
        ("Cargo.lock", read(&crates.join("Cargo.lock"))?),
        ("README.md", fill(include_str!("../templates/README.md"))),
        ("build.rs", fill(include_str!("../templates/build.rs"))),
        ("memory.x", memory),
        ("src/lib.rs", fill(include_str!("../templates/lib.rs"))),
        ("src/main.rs", fill(include_str!("../templates/main.rs"))),
        ("src/board.rs", board_file),
        ("src/bin/camera.rs", fill(include_str!("../templates/camera.rs"))),
    ];
    files.extend(probe.then(|| ("src/log.rs", fill(include_str!("../templates/log.rs")))));
    write(&folder, &files, map.bytes())?;
    let names = files.iter().map(|(name, _)| (*name).to_owned()).chain([MODEL.to_owned()]);
    Ok(Project { name, folder, board: board.name, arena_bytes, flash_bytes, files: names.collect() })
}

/// The model in the project.
const MODEL: &str = "model.safetensors";

/// The folder's name, where a package may have it.
fn package_name(folder: &Path) -> Result<String> {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !begins || !name.chars().all(known) || TAKEN.contains(&name.replace('-', "_").as_str()) {
        bail!(
            "`{name}` is no name for the package: letters, digits, `-` and `_`, a letter first, no word of Rust's and none of the \
             program's own modules and packages"
        );
    }
    Ok(name)
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The memory map of a board: its own, or of several in folders the smallest whose RAM takes `needed` bytes.
fn memory_map(crates: &Path, needed: u64) -> Result<String> {
    let own = crates.join("memory.x");
    if own.is_file() {
        return read(&own);
    }
    let mut maps = Vec::new();
    for entry in std::fs::read_dir(crates).with_context(|| format!("cannot read {}", crates.display()))? {
        let file = entry?.path().join("memory.x");
        if file.is_file() {
            let text = read(&file)?;
            maps.push((ram_bytes(&text).with_context(|| format!("{}: no RAM", file.display()))?, text));
        }
    }
    maps.sort();
    let last = maps.len().saturating_sub(1);
    let at = maps.iter().position(|(bytes, _)| *bytes >= needed).unwrap_or(last);
    ensure!(!maps.is_empty(), "{}: no memory.x", crates.display());
    Ok(maps.swap_remove(at).1)
}

/// Bytes of RAM in a memory map: `RAM : ORIGIN = …, LENGTH = 128K - 16K`.
fn ram_bytes(map: &str) -> Option<u64> {
    let line = map.lines().find(|line| line.trim_start().starts_with("RAM "))?;
    let (_, length) = line.split_once("LENGTH = ")?;
    let mut sizes = length.split('-').map(|size| {
        let size = size.trim();
        let unit = if size.ends_with('M') { 1 << 20 } else { 1 << 10 };
        Some(size.trim_end_matches(['K', 'M']).parse::<u64>().ok()? * unit)
    });
    let all = sizes.next()??;
    sizes.try_fold(all, |left, size| left.checked_sub(size?))
}

/// Where the registers of an emulated board's UART begin, as its program says.
fn uart(crates: &Path) -> Result<Option<String>> {
    let text = read(&crates.join("src/main.rs"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("uart: "));
    Ok(line.map(|address| address.trim_end_matches(',').to_owned()))
}

/// How a board's firmware is compiled: the sections of its Cargo.toml before the last, with the comment above.
fn profile(manifest: &str) -> Option<&str> {
    let from = manifest.find("# Small everywhere")?;
    Some(manifest.get(from..manifest.rfind("[workspace]")?)?.trim_end())
}

/// A board's start for a program: it also hands on what the program names.
fn start(text: &str) -> String {
    text.replacen(
        "use lrpet_firmware_cortex_m::board::Lent;",
        "pub use lrpet_firmware_cortex_m::board::Lent;",
        1,
    )
    .replacen(
        "use lrpet_firmware_cortex_m::serial::{Blocking, Buffers};",
        "pub use lrpet_firmware_cortex_m::serial::Buffers;\nuse lrpet_firmware_cortex_m::serial::Blocking;",
        1,
    )
}

/// The board's dependencies for a program's Cargo.toml, and the features of the runtime: those of the board and `needed`.
fn dependencies(manifest: &Table, needed: &[&str], board: &Board) -> Result<(String, String)> {
    let table =
        manifest.get("dependencies").and_then(Value::as_table).context("a board without dependencies")?;
    let mut features: Vec<String> = needed.iter().map(|feature| (*feature).to_owned()).collect();
    features.extend(board.features.split(',').filter(|feature| !feature.is_empty()).map(str::to_owned));
    let mut text = String::new();
    if !table.contains_key("cortex-m") {
        text.push_str("cortex-m = \"0.7.7\"\n");
    }
    for (name, value) in table {
        let own = || {
            let list = value.get("features").and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        match name.as_str() {
            RUNTIME => features.extend(own()),
            SHARED => {
                let path = root().join("firmware/cortex-m");
                writeln!(text, "{SHARED} = {{ path = \"{}\", features = {:?} }}", path.display(), own())?;
            }
            // The program has them for itself.
            "embedded-hal" | "embedded-io" | "lrpet-model" => {}
            _ => writeln!(text, "{name} = {}", inline(value)?)?,
        }
    }
    let features = if features.is_empty() { String::new() } else { format!(", features = {features:?}") };
    Ok((text.trim_end().to_owned(), features))
}

/// A value as it is written in one line.
fn inline(value: &Value) -> Result<String> {
    Ok(match value {
        Value::String(text) => format!("{text:?}"),
        Value::Boolean(value) => value.to_string(),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(inline).collect::<Result<_>>()?;
            format!("[{}]", values.join(", "))
        }
        Value::Table(table) => {
            // What a board's firmware may have, a program has.
            let table = table.iter().filter(|(key, _)| *key != "optional");
            let fields: Vec<_> =
                table.map(|(key, value)| Ok(format!("{key} = {}", inline(value)?))).collect::<Result<_>>()?;
            format!("{{ {} }}", fields.join(", "))
        }
        other => bail!("a dependency with {other:?}"),
    })
}

/// Target and runner of a board; the emulator's serial line is its standard input and output. And how tests run on this machine.
fn cargo_config(text: &str, board: &Board) -> Result<String> {
    let config: Table = text.parse().context("a board's .cargo/config.toml")?;
    // A dot in a target's name makes a table of its own.
    let of = board.target.split('.').try_fold(config.get("target"), |table, key| Some(table?.get(key)));
    let runner = of.flatten().and_then(|of| of.get("runner")?.as_str());
    let runner = runner.context("a board without a runner")?.replace("-serial none", "-serial stdio");
    let log = if board.chip().is_some() { "\n[env]\nDEFMT_LOG = \"info\"\n" } else { "" };
    Ok(format!(
        "[build]\ntarget = \"{target}\"\n\n[target.{target}]\nrunner = \"{runner}\"\n\n\
         [alias]\n# What depends on no board, on this machine.\nhost-test = \"test --lib --target {}\"\n{log}",
        host()?,
        target = board.target,
    ))
}

/// This machine's target.
fn host() -> Result<String> {
    let mut command = std::process::Command::new("rustc");
    let text = crate::process::capture(command.arg("-vV"), "install Rust with rustup")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// All files or none: they come into a folder beside it, which then gets its name.
fn write(folder: &Path, files: &[(&str, String)], model: &[u8]) -> Result<()> {
    let mut beside = folder.as_os_str().to_owned();
    beside.push(format!(".partial-{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let all = || -> Result<()> {
        for (name, text) in files {
            let file = beside.join(name);
            std::fs::create_dir_all(file.parent().unwrap_or(&beside))?;
            std::fs::write(&file, text)?;
        }
        std::fs::write(beside.join(MODEL), model)?;
        if folder.exists() {
            // It is empty.
            std::fs::remove_dir(folder)?;
        }
        Ok(std::fs::rename(&beside, folder)?)
    };
    all()
        .inspect_err(|_| drop(std::fs::remove_dir_all(&beside)))
        .with_context(|| format!("cannot write {}", folder.display()))
}
