//! Workspaces and execs, and the floor under an exec.

use std::{path::Path, time::Instant};

use pyro_client::{
    ExecEvent, Node,
    api::{Command, ExecRequest, Workspace},
};
use pyro_directory::Directory;
use pyro_wire::{
    Call, Decoder, Echo, FrameKind, GENERATION, HEADER_BYTES, call::Verb, header, message_frame,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::{
    Result,
    figure::Report,
    floor::Floor,
    process::{milliseconds, times},
    python::Turns,
    scene::{Scene, put},
};

static SPAWN_FLOOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/spawn_floor"));

/// Spawns in a row under which so many execs are laid.
const SPAWNS: usize = 10;

/// How much goes through an exec's stdout.
const STREAM_MIB: usize = 64;

pub(crate) async fn measure(scene: &Scene, report: &mut Report) -> Result<()> {
    let node = scene.node().await?;
    let mut floor = Floor::new(scene)?;
    let [mut floors, mut created] = [const { Vec::new() }; 2];
    let mut last = None;
    // In turns, so that whatever else the machine does is added to both alike.
    for _ in 0..scene.runs {
        if let Some(workspace) = last.take() {
            let workspace: Workspace = workspace;
            node.delete_workspace(&workspace.workspace_id.to_string()).await?;
        }
        floors.push(floor.boot()?);
        let begun = Instant::now();
        let workspace = node.create_workspace(&scene.creation()).await?;
        run(&node, &workspace.workspace_id.to_string(), &["/bin/true"]).await?;
        created.push(milliseconds(begun));
        last = Some(workspace);
    }
    report.add("floor: kernel to an init that answers", "ms", floors);
    report.add("create to first exec answered", "ms", created);
    let workspace = last.ok_or("at least one run")?;
    let id = workspace.workspace_id.to_string();
    let disk = node.workspace(&id).await?.disk_bytes;
    let usage = node.disk_usage().await?;
    report.add("disk of a fresh workspace", "KiB", vec![disk as f64 / 1024.0]);
    let whole = usage.workspaces.iter().find(|usage| usage.workspace_id == workspace.workspace_id);
    if let Some(whole) = whole {
        let bytes = whole.disk_bytes + whole.record_bytes;
        report.add("disk of a fresh workspace, all files", "KiB", vec![bytes as f64 / 1024.0]);
    }
    resident(scene, &id, report)?;
    round_trips(scene, &node, &id, report).await?;
    stream(&node, &id, scene.runs, report).await?;
    node.delete_workspace(&id).await?;
    Ok(())
}

async fn round_trips(scene: &Scene, node: &Node, id: &str, report: &mut Report) -> Result<()> {
    put(scene, id, SPAWN_FLOOR, "/tmp/spawn-floor")?;
    report.add("floor: echo on the raw channel", "ms", echo(scene, id).await?);
    // In turns, so that whatever else the machine does is added to all alike.
    let mut python =
        scene.python.as_deref().map(|turns| Turns::new(scene, turns, id)).transpose()?;
    let [mut floor, mut client, mut threads, mut coroutines] = [const { Vec::new() }; 4];
    for round in 0..scene.rounds {
        if round % SPAWNS == 0 {
            floor.extend(spawn_floor(scene, id)?);
        }
        let begun = Instant::now();
        run(node, id, &["/bin/true"]).await?;
        client.push(milliseconds(begun));
        if let Some(python) = &mut python {
            threads.push(python.turn("threads")?);
            coroutines.push(python.turn("asyncio")?);
        }
    }
    report.add("floor: spawn and wait in the guest", "ms", floor);
    report.add("exec /bin/true by the Rust client", "ms", client);
    if let Some(python) = python {
        report.add("exec /bin/true by the Python SDK", "ms", threads);
        report.add("exec /bin/true by the Python SDK, asyncio", "ms", coroutines);
        python.end()?;
    }
    let cli = times(scene, &["exec", id, "--", "/bin/true"], scene.rounds)?;
    report.add("exec /bin/true by the command line", "ms", cli);
    Ok(())
}

/// Runs a command to its end by the client; how many bytes it printed.
async fn run(node: &Node, id: &str, command: &[&str]) -> Result<u64> {
    let request = ExecRequest {
        command: Command::Arguments(command.iter().map(ToString::to_string).collect()),
        cwd: None,
        env: std::collections::BTreeMap::new(),
        user: None,
        timeout_seconds: None,
        terminal: None,
        stdin: false,
        detach: false,
        no_start: false,
    };
    let mut stream = node.exec(id, &request).await?;
    let mut bytes = 0;
    while let Some(event) = stream.receiver.next().await? {
        match event {
            ExecEvent::Stdout(piece) | ExecEvent::Stderr(piece) => bytes += piece.len() as u64,
            ExecEvent::Ended { exec, .. } if exec.exec.exit_code != Some(0) => {
                return Err(format!("{command:?} failed: {:?}", exec.exec).into());
            }
            _ => {}
        }
    }
    Ok(bytes)
}

async fn stream(node: &Node, id: &str, runs: usize, report: &mut Report) -> Result<()> {
    let line = format!("head -c {} /dev/zero", STREAM_MIB << 20);
    let mut rates = Vec::new();
    for _ in 0..runs {
        let begun = Instant::now();
        let bytes = run(node, id, &["/bin/sh", "-c", &line]).await?;
        rates.push((bytes >> 20) as f64 / begun.elapsed().as_secs_f64());
        if bytes != (STREAM_MIB << 20) as u64 {
            return Err(format!("{bytes} bytes came of {STREAM_MIB} MiB").into());
        }
    }
    report.add("64 MiB through exec stdout", "MiB/s", rates);
    Ok(())
}

/// Spawn and wait measured inside the same guest, by a program that is put there.
fn spawn_floor(scene: &Scene, id: &str) -> Result<Vec<f64>> {
    let micros = scene.output(&["exec", id, "--", "/tmp/spawn-floor", &SPAWNS.to_string()])?;
    micros.lines().map(|line| Ok(line.parse::<f64>()? / 1000.0)).collect()
}

/// A byte there and back on one stream to the agent, with nothing between but the keeper.
async fn echo(scene: &Scene, id: &str) -> Result<Vec<f64>> {
    let directory = Directory::open(scene.state().join("workspaces").join(id).join("vm"))?;
    let mut socket: UnixStream = directory.connect_async("vm.sock").await?;
    socket.write_all(format!("CONNECT {}\n", pyro_core::AGENT_PORT).as_bytes()).await?;
    while socket.read_u8().await? != b'\n' {}
    let call = Call { generation: GENERATION, verb: Some(Verb::Echo(Echo {})) };
    socket.write_all(&message_frame(&call)).await?;
    let mut decoder = Decoder::default();
    let mut samples = Vec::new();
    let mut begun = None;
    while samples.len() < scene.rounds * 4 {
        while let Some(frame) = decoder.next_frame()? {
            if let (FrameKind::Data, Some(begun)) = (frame.kind, begun.take()) {
                samples.push(milliseconds(begun));
            }
            let mut ping = header(FrameKind::Data, 1).to_vec();
            ping.push(b'x');
            assert_eq!(ping.len(), HEADER_BYTES + 1);
            begun = Some(Instant::now());
            socket.write_all(&ping).await?;
        }
        if socket.read_buf(decoder.buffer()).await? == 0 {
            return Err("the echo ended".into());
        }
    }
    Ok(samples)
}

/// Resident memory of node, keeper and VMM.
fn resident(scene: &Scene, id: &str, report: &mut Report) -> Result<()> {
    let field = |file: &Path, field: &str| -> Result<i64> {
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
        Ok(record[field].as_i64().ok_or("no such field")?)
    };
    let keeper = scene.state().join("workspaces").join(id).join("vm/keeper.json");
    let processes = [
        ("resident memory of the node", field(&scene.state().join("node.json"), "pid")?),
        ("resident memory of a keeper", field(&keeper, "keeper_pid")?),
        ("resident memory of a VMM (512 MiB guest)", field(&keeper, "vmm_pid")?),
    ];
    for (name, pid) in processes {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 =
            line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?.parse()?;
        report.add(name, "MiB", vec![kib / 1024.0]);
    }
    Ok(())
}
