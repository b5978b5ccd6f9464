//! A Slurm of one machine: munged, slurmctld and slurmd on free ports of the loopback address, in a folder of their own.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::processes::wait;

/// The servers; all end with it, and the jobs that they run.
pub struct Slurm {
    servers: Vec<Child>,
    folder: TempDir,
}

impl Slurm {
    /// Starts the servers and waits until the node takes jobs.
    ///
    /// # Errors
    /// Where a server is not installed or does not come up; the text has the ends of their logs.
    pub fn start() -> Result<Slurm> {
        let mut slurm =
            Slurm { servers: Vec::new(), folder: tempfile::Builder::new().prefix("slurm").tempdir()? };
        let folder = slurm.folder.path().to_owned();
        let mut key = [0; 1024];
        std::io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut key)?;
        let mut file =
            File::options().write(true).create_new(true).mode(0o400).open(folder.join("munge.key"))?;
        file.write_all(&key)?;
        let user = Command::new("id").arg("-un").output()?.stdout;
        let user = String::from_utf8(user)?.trim().to_owned();
        for name in ["state", "spool"] {
            std::fs::create_dir(folder.join(name))?;
        }
        std::fs::write(slurm.configuration(), configuration(&folder, &user, free_ports()?))?;

        let at = |name: &str| folder.join(name).display().to_string();
        let mut munged = Command::new("/usr/sbin/munged");
        munged.args(["--foreground", "--force"]);
        for (option, name) in
            [("key-file", "munge.key"), ("socket", "munge.socket"), ("pid-file", "munged.pid")]
        {
            munged.arg(format!("--{option}={}", at(name)));
        }
        munged.arg(format!("--seed-file={}", at("munged.seed")));
        slurm.serve(munged, "munged")?;
        wait("socket of munged", LIMIT, || folder.join("munge.socket").exists().then_some(()))?;
        let mut controller = Command::new("/usr/sbin/slurmctld");
        controller.args(["-D", "-f"]).arg(slurm.configuration());
        slurm.serve(controller, "slurmctld")?;
        let mut node = Command::new("/usr/sbin/slurmd");
        node.args(["-D", "-N", "localhost", "-f"]).arg(slurm.configuration());
        slurm.serve(node, "slurmd")?;
        let idle = || slurm.say("sinfo", &["--noheader", "--format=%T"]).ok().filter(|state| state == "idle");
        wait("idle node", LIMIT, idle).with_context(|| slurm.logs())?;
        Ok(slurm)
    }

    /// The file that programs of Slurm take from `SLURM_CONF`.
    pub fn configuration(&self) -> PathBuf {
        self.folder.path().join("slurm.conf")
    }

    /// What a program of Slurm prints.
    ///
    /// # Errors
    /// Where it fails.
    pub fn say(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let done = Command::new(program).args(arguments).env("SLURM_CONF", self.configuration()).output();
        let done = done.with_context(|| format!("cannot start {program}: cargo xtask setup --cluster"))?;
        let errors = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{program} {}: {errors}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    /// The ends of the servers' logs.
    pub fn logs(&self) -> String {
        let end = |name: &str| {
            let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{name}:\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        ["munged.out", "slurmctld.out", "slurmd.out"].map(end).concat()
    }

    fn serve(&mut self, mut command: Command, name: &str) -> Result<()> {
        let log = File::create(self.folder.path().join(format!("{name}.out")))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .env("SLURM_CONF", self.configuration());
        let server = command.spawn();
        self.servers
            .push(server.with_context(|| format!("cannot start {name}: cargo xtask setup --cluster"))?);
        Ok(())
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        if self.servers.len() == 3 {
            // Jobs outlive slurmd.
            let _ = self.say("scancel", &["--partition=test", "--full", "--signal=KILL"]);
            let _ = self.say("scancel", &["--partition=test"]);
            let empty =
                || self.say("squeue", &["--noheader"]).map_or(Some(()), |said| said.is_empty().then_some(()));
            let _ = wait("end of the jobs", Duration::from_secs(10), empty);
        }
        for server in self.servers.iter_mut().rev() {
            let _ = Command::new("kill").arg(server.id().to_string()).status();
            if wait("end", Duration::from_secs(5), || server.try_wait().ok().flatten()).is_err() {
                let _ = server.kill();
            }
            let _ = server.wait();
        }
    }
}

/// No step of the start takes longer, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Two ports that nobody listens on.
fn free_ports() -> Result<[u16; 2]> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}

fn configuration(folder: &Path, user: &str, [controller, node]: [u16; 2]) -> String {
    let folder = folder.display();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "ClusterName=test\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort={controller}\nSlurmdPort={node}\n\
         SlurmUser={user}\nSlurmdUser={user}\nAuthType=auth/munge\nAuthInfo=socket={folder}/munge.socket\n\
         StateSaveLocation={folder}/state\nSlurmdSpoolDir={folder}/spool\n\
         SlurmctldPidFile={folder}/slurmctld.pid\nSlurmdPidFile={folder}/slurmd.pid\n\
         ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nMpiDefault=none\n\
         SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\n\
         SchedulerParameters=sched_interval=1,batch_sched_delay=1\n\
         AccountingStorageType=accounting_storage/none\nJobAcctGatherType=jobacct_gather/none\n\
         ReturnToService=2\nKillWait=2\nMinJobAge=300\n\
         NodeName=localhost NodeAddr=127.0.0.1 CPUs={processors} State=UNKNOWN\n\
         PartitionName=test Nodes=localhost Default=YES MaxTime=INFINITE State=UP\n"
    )
}
