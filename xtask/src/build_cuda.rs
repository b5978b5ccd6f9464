//! `cargo xtask build-cuda`: the trainer with CUDA, built and linked on a machine that needs neither a GPU nor a driver.
//!
//! The compiler and headers come as NVIDIA's wheels into a virtual environment. To link, empty libraries with the right
//! names stand in for CUDA's own, which the GPU machine has.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process;

/// The compiler and the headers, of CUDA 13.0.
const WHEELS: [&str; 6] = [
    "nvidia-cuda-nvcc==13.0.*",
    "nvidia-cuda-crt==13.0.*",
    "nvidia-nvvm==13.0.*",
    "nvidia-cuda-runtime==13.0.*",
    "nvidia-cuda-cccl==13.0.*",
    "nvidia-curand==10.4.*",
];

/// Libraries that the program names: `-l` name and the name under which it is found at run time. The driver's first.
const LIBRARIES: [(&str, &str); 6] = [
    ("cuda", "libcuda.so.1"),
    ("nvrtc", "libnvrtc.so.13"),
    ("curand", "libcurand.so.10"),
    ("cublas", "libcublas.so.13"),
    ("cublasLt", "libcublasLt.so.13"),
    ("cudart", "libcudart.so.13"),
];
/// With `--cudnn`.
const CUDNN: (&str, &str) = ("cudnn", "libcudnn.so.9");
/// With `--nccl`. The compiler names it to the linker, which keeps it for the one function that its stub has: a flag more
/// would have cargo compile all kernels anew.
const NCCL: (&str, &str) = ("nccl", "libnccl.so.2");
const NCCL_STUB: &str = "int ncclAllReduce(void) { return 1; }\n";

/// What the GPU machine needs where it has no CUDA toolkit.
const RUN_WHEELS: &str =
    "'nvidia-cublas==13.*' 'nvidia-cuda-nvrtc==13.0.*' 'nvidia-curand==10.4.*' 'nvidia-cuda-runtime==13.0.*'";

/// What to do when the build fails.
const HINT: &str = "see the log";

#[derive(clap::Args)]
pub struct Arguments {
    /// Compute capability of the GPU, without the dot: 75 (T4), 80 (A100), 89 (L4), 90 (H100 and H200), 100, 120. Below 90,
    /// newer GPUs can run it too
    #[arg(long, default_value_t = 90, value_name = "NN", value_parser = clap::value_parser!(u32).range(75..=121))]
    cap: u32,
    /// Convolutions of `lrpet eval` by cuDNN
    #[arg(long)]
    cudnn: bool,
    /// Training by several processes, with a GPU each, under mpirun or srun; needs libopenmpi-dev and libclang-dev
    #[arg(long)]
    nccl: bool,
    /// Folder for the toolkit, the build and the programs [default: target/cuda]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A build under way.
struct Build {
    folder: PathBuf,
    log: PathBuf,
    libraries: Vec<(&'static str, &'static str)>,
}

/// Runs the chore.
pub fn main(arguments: &Arguments) -> Result<()> {
    let folder = arguments.out.clone().unwrap_or_else(|| crate::root().join("target/cuda"));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let chosen = arguments.cudnn.then_some(CUDNN).into_iter().chain(arguments.nccl.then_some(NCCL));
    let libraries = LIBRARIES.into_iter().chain(chosen).collect();
    let build = Build { log: folder.join("build.log"), folder, libraries };
    let toolkit = build.toolkit()?;
    build.stubs()?;
    let compiler = build.compiler(&toolkit)?;
    let programs = build.programs(arguments, &toolkit, &compiler)?;
    build.check(&programs)?;
    build.explain(arguments, &programs);
    Ok(())
}

/// The programs that were built.
struct Programs {
    lrpet: PathBuf,
    /// The trainer's unit tests.
    tests: PathBuf,
    gpu_speed: PathBuf,
}

impl Build {
    fn run(&self, command: &mut Command, label: &str, hint: &str) -> Result<()> {
        process::run_logged(command, label, &self.log, hint)
    }

    /// The folder of the toolkit, installed where it is not there yet.
    fn toolkit(&self) -> Result<PathBuf> {
        let venv = self.folder.join("venv");
        // Written last.
        let (stamp, wanted) = (venv.join("wheels.txt"), WHEELS.join("\n"));
        if std::fs::read_to_string(&stamp).ok().as_deref() != Some(&*wanted) {
            let mut make = Command::new("python3");
            make.args(["-m", "venv", "--clear"]).arg(&venv);
            self.run(&mut make, "python3 -m venv", "install python3-venv (cargo xtask setup)")?;
            let mut pip = Command::new(venv.join("bin/python"));
            pip.args(["-m", "pip", "install", "-q", "--only-binary=:all:"]).args(WHEELS);
            self.run(&mut pip, "pip install the CUDA compiler", "check the network and the package index")?;
            std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
        }
        let script = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let packages = process::capture(
            Command::new(venv.join("bin/python")).args(["-c", script]),
            "remove the folder venv and try again",
        )?;
        let toolkit = Path::new(packages.trim()).join("nvidia/cu13");
        ensure!(toolkit.join("bin/nvcc").is_file(), "no nvcc in {}", toolkit.display());
        Ok(toolkit)
    }

    /// Empty libraries to link with.
    fn stubs(&self) -> Result<()> {
        let folder = self.folder.join("stubs");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let empty = folder.join("empty.c");
        std::fs::write(&empty, "").with_context(|| format!("cannot write {}", empty.display()))?;
        let nccl = folder.join("nccl.c");
        std::fs::write(&nccl, NCCL_STUB).with_context(|| format!("cannot write {}", nccl.display()))?;
        for library in &self.libraries {
            let (source, (name, soname)) = (if *library == NCCL { &nccl } else { &empty }, library);
            self::library(source, soname, &folder.join(format!("lib{name}.so")))?;
        }
        Ok(())
    }

    /// nvcc, which compiles candle's kernels for quantised language models (no part of `lrpet` calls them) in the least
    /// time: optimised, they take most of the build. Kernels that become PTX are optimised as ever.
    fn compiler(&self, toolkit: &Path) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        // Beside nvcc: the root of the toolkit is found from its place.
        let (nvcc, wrapper) = (toolkit.join("bin/nvcc"), toolkit.join("bin/nvcc-quick"));
        let nvcc = nvcc.display();
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in\n*\" -c \"*) exec '{nvcc}' --Ofast-compile max \"$@\" ;;\nesac\nexec '{nvcc}' \"$@\"\n"
        );
        std::fs::write(&wrapper, script).with_context(|| format!("cannot write {}", wrapper.display()))?;
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
        Ok(wrapper)
    }

    fn cargo(&self, arguments: &Arguments, toolkit: &Path, compiler: &Path) -> Result<Command> {
        let mut path = vec![toolkit.join("bin")];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut flags = vec![
            "-L".to_owned(),
            format!("native={}", self.folder.join("stubs").display()),
            "-Clink-arg=-Wl,--unresolved-symbols=ignore-all".to_owned(),
            // The stubs hold no symbol that would make the linker keep them.
            "-Clink-arg=-Wl,--no-as-needed".to_owned(),
        ];
        let named = self.libraries.iter().filter(|library| **library != NCCL);
        flags.extend(named.map(|(name, _)| format!("-Clink-arg=-l{name}")));
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(crate::root()).env("PATH", std::env::join_paths(path)?);
        for variable in ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR"] {
            cargo.env(variable, toolkit);
        }
        cargo.env("NVCC", compiler).env("CUDA_COMPUTE_CAP", arguments.cap.to_string());
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).env("CARGO_TARGET_DIR", &self.folder);
        Ok(cargo)
    }

    /// Builds the programs into the folder `bin`.
    fn programs(&self, arguments: &Arguments, toolkit: &Path, compiler: &Path) -> Result<Programs> {
        let host = host()?;
        let chosen = [(true, "cuda"), (arguments.cudnn, "cudnn"), (arguments.nccl, "nccl,mpi")];
        let features: Vec<&str> = chosen.iter().filter(|chosen| chosen.0).map(|chosen| chosen.1).collect();
        let features = features.join(",");
        let packages = ["--release", "-p", "lrpet-trainer", "-p", "lrpet-train"];
        let common = [&packages[..], &["--features", &features, "--target", &host]].concat();
        let mut build = self.cargo(arguments, toolkit, compiler)?;
        build.arg("build").args(&common).args(["--bin", "lrpet", "--example", "gpu_speed"]);
        self.run(&mut build, "cargo build with CUDA (the first time takes many minutes)", HINT)?;
        let mut tests = self.cargo(arguments, toolkit, compiler)?;
        tests.arg("test").args(&common).args(["--lib", "--no-run", "--message-format", "json"]);
        eprintln!("cargo test --no-run with CUDA");
        let messages = process::capture(&mut tests, HINT)?;
        let test_program = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["profile"]["test"] == true)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .context("cargo named no test program")?;
        let release = self.folder.join(&host).join("release");
        let folder = self.folder.join("bin");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let copy = |from: PathBuf, name: &str| -> Result<PathBuf> {
            let to = folder.join(name);
            std::fs::copy(&from, &to)
                .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
            Ok(to)
        };
        Ok(Programs {
            lrpet: copy(release.join("lrpet"), "lrpet")?,
            tests: copy(test_program, "trainer-tests")?,
            gpu_speed: copy(release.join("examples/gpu_speed"), "gpu_speed")?,
        })
    }

    /// Starts the program with a driver that finds no GPU: it must start, and say so.
    fn check(&self, programs: &Programs) -> Result<()> {
        let folder = self.folder.join("no-gpu");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let symbols = undefined(&programs.lrpet)?;
        ensure!(!symbols.is_empty(), "{} takes nothing from CUDA's libraries", programs.lrpet.display());
        // 100 is CUDA_ERROR_NO_DEVICE. The registration of kernels at the start returns nothing that is used.
        let functions: String =
            symbols.iter().map(|name| format!("int {name}(void) {{ return 100; }}\n")).collect();
        let source = folder.join("driver.c");
        std::fs::write(&source, functions).with_context(|| format!("cannot write {}", source.display()))?;
        let empty = self.folder.join("stubs/empty.c");
        for (index, (_, soname)) in self.libraries.iter().enumerate() {
            library(if index == 0 { &source } else { &empty }, soname, &folder.join(soname))?;
        }
        let mut command = Command::new(&programs.lrpet);
        command.args(["train", "--device", "cuda", "--net", "resnet8", "--data", "cifar10", "--out"]);
        command.arg(folder.join("run")).env("LD_LIBRARY_PATH", &folder);
        let done = command.output().with_context(|| format!("cannot start {}", programs.lrpet.display()))?;
        let said = String::from_utf8_lossy(&done.stderr);
        if done.status.code() != Some(1) || !said.contains("no NVIDIA GPU can be used") {
            bail!("with a driver that finds no GPU, lrpet ended with {}:\n{said}", done.status);
        }
        Ok(())
    }

    fn explain(&self, arguments: &Arguments, programs: &Programs) {
        let Programs { lrpet, tests, gpu_speed } = programs;
        let cudnn = if arguments.cudnn { " 'nvidia-cudnn-cu13==9.*'" } else { "" };
        let nccl = if arguments.nccl { " 'nvidia-nccl-cu13==2.*'" } else { "" };
        // candle's kernels are for 9.0 with its own instructions alone, for older ones in a form that all newer ones take.
        let newer = if arguments.cap < 90 { " or newer" } else { "" };
        println!("built and linked, and started with a driver that finds no GPU:");
        for program in [lrpet, tests, gpu_speed] {
            println!("  {}", program.display());
        }
        println!(
            "\nOn a machine with a GPU of compute capability {}.{}{newer} and driver 580 or newer, copy them and run:\n\
             \n  python3 -m venv cuda && cuda/bin/pip install {RUN_WHEELS}{cudnn}{nccl}\n  \
             export LD_LIBRARY_PATH=$(echo $PWD/cuda/lib/python3*/site-packages/nvidia/*/lib | tr ' ' :)\n  \
             ./lrpet train --device cuda …\n  ./trainer-tests cuda:: projection:: device::\n  \
             ./gpu_speed --device cuda\n\
             \nWith a CUDA 13 toolkit installed there, its lib64 serves as LD_LIBRARY_PATH. See docs/cuda.md.",
            arguments.cap / 10,
            arguments.cap % 10,
        );
    }
}

/// A shared library of `source` that programs find as `soname`.
fn library(source: &Path, soname: &str, file: &Path) -> Result<()> {
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or("cc".into()));
    cc.args(["-shared", "-fPIC", "-w", "-fno-builtin", "-x", "c"]).arg(source);
    cc.arg(format!("-Wl,-soname,{soname}")).arg("-o").arg(file);
    process::capture(&mut cc, "install gcc").map(drop)
}

/// The functions of CUDA's libraries that a program takes.
fn undefined(program: &Path) -> Result<Vec<String>> {
    use object::{Object, ObjectSymbol};
    let bytes = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let file =
        object::File::parse(&*bytes).with_context(|| format!("{} is no program", program.display()))?;
    let names = file.dynamic_symbols().filter(ObjectSymbol::is_undefined);
    let names = names.filter_map(|symbol| symbol.name().ok().map(str::to_owned));
    let cuda =
        |name: &String| ["cu", "nvrtc", "nccl", "__cuda"].iter().any(|prefix| name.starts_with(prefix));
    Ok(names.filter(cuda).collect())
}

/// The compiler's name for this machine.
fn host() -> Result<String> {
    let text = process::capture(Command::new("rustc").arg("-vV"), "install Rust")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
