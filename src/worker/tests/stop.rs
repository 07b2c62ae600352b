//! Nothing of a program runs on: not when it is cancelled, not when we shut down, not when we are killed.

mod common;

use common::{Bench, TO_KILL, failure, guard_of, has_line, job, processes_with, sh, success, until};
use gateway_worker::{Ending, Job, LeftOver, Program, recover};
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// A program whose grandchild leaves its session, takes no notice of SIGTERM, and says so in `file`.
fn stubborn(file: &Path) -> Program {
    let script = r#"
import os, signal, sys, time
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(sys.argv[1], "w").write("%d\n" % os.getpid())
        time.sleep(300)
    os._exit(0)
os.wait()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(300)
"#;
    Program::new(["python3", "-c", script, file.to_str().expect("temporary directories have plain names")])
}

/// The mark that every process of a task carries.
fn mark(job: &Job) -> String {
    format!("SERVICE_GATEWAY_TASK={}", job.id)
}

#[tokio::test]
async fn cancelling_ends_everything() {
    let bench = Bench::new();
    let (job, file) = (job(), tempfile::tempdir().unwrap());
    let file = file.path().join("started");
    let cancel = CancellationToken::new();
    let waits = async {
        until("the grandchild runs", || has_line(&file)).await;
        assert!(processes_with(&mark(&job)).len() >= 3, "guard, program and grandchild");
        cancel.cancel();
    };
    let ((ending, _), ()) = tokio::join!(bench.run(job.clone(), stubborn(&file), cancel.clone()), waits);
    assert!(matches!(ending, Ending::Cancelled), "{ending:?}");
    assert_eq!(processes_with(&mark(&job)), [0; 0]);
}

#[tokio::test]
async fn shutting_down_ends_everything() {
    let bench = Bench::new();
    let (job, file) = (job(), tempfile::tempdir().unwrap());
    let file = file.path().join("started");
    let waits = async {
        until("the grandchild runs", || has_line(&file)).await;
        bench.shutdown.cancel();
    };
    let ((ending, _), ()) = tokio::join!(bench.run(job.clone(), stubborn(&file), CancellationToken::new()), waits);
    assert!(matches!(ending, Ending::Aborted), "{ending:?}");
    assert_eq!(processes_with(&mark(&job)), [0; 0]);
}

#[tokio::test]
async fn a_program_may_clean_up_when_it_is_asked_to_stop() {
    let mut bench = Bench::new();
    bench.grace(Duration::from_secs(30));
    let file = tempfile::tempdir().unwrap();
    let (ready, cleaned) = (file.path().join("ready"), file.path().join("cleaned"));
    let script = "trap 'echo yes >$1; exit' TERM; echo >$0; while :; do sleep 0.05; done";
    let paths = [&ready, &cleaned].map(|path| path.to_str().unwrap());
    let program = Program::new(["sh", "-c", script, paths[0], paths[1]]);
    let cancel = CancellationToken::new();
    let waits = async {
        until("the program runs", || has_line(&ready)).await;
        cancel.cancel();
    };
    let ((ending, _), ()) = tokio::join!(bench.run(job(), program, cancel.clone()), waits);
    assert!(matches!(ending, Ending::Cancelled), "{ending:?}");
    assert!(has_line(&cleaned));
}

#[tokio::test]
async fn what_a_program_leaves_running_is_stopped() {
    let bench = Bench::new();
    let job = job();
    let program = sh("setsid sleep 300 & sleep 300 & echo done");
    assert_eq!(success(bench.run(job.clone(), program, CancellationToken::new()).await), r#""done""#);
    assert_eq!(processes_with(&mark(&job)), [0; 0]);
}

#[tokio::test]
async fn a_stopped_program_is_stopped_too() {
    let bench = Bench::new();
    let program = Program { timeout: Duration::from_millis(300), ..sh("kill -STOP $$") };
    assert_eq!(failure(bench.run(job(), program, CancellationToken::new()).await).0, "TimeLimitExceeded");
}

/// As the service manager does when it stops the service.
#[tokio::test]
async fn a_guard_that_is_asked_to_stop_gives_the_task_back() {
    let bench = Bench::new();
    let job = job();
    let waits = async {
        until("guard and program run", || processes_with(&mark(&job)).into_iter().any(is_sleep)).await;
        kill("-TERM", guard_of(&mark(&job)).expect("there is a guard"));
    };
    let program = Program::new(["sleep", "300"]);
    let ((ending, _), ()) = tokio::join!(bench.run(job.clone(), program, CancellationToken::new()), waits);
    assert!(matches!(ending, Ending::Aborted), "{ending:?}");
    assert_eq!(processes_with(&mark(&job)), [0; 0]);
}

#[tokio::test]
async fn when_the_guard_is_killed_its_program_is_killed_and_the_task_is_lost() {
    let bench = Bench::new();
    let (job, file) = (job(), tempfile::tempdir().unwrap());
    let file = file.path().join("started");
    let waits = async {
        until("the grandchild runs", || has_line(&file)).await;
        kill("-KILL", guard_of(&mark(&job)).expect("there is a guard"));
    };
    let ((ending, _), ()) = tokio::join!(bench.run(job.clone(), stubborn(&file), CancellationToken::new()), waits);
    assert!(matches!(ending, Ending::Lost { .. }), "{ending:?}");
    assert_eq!(processes_with(&mark(&job)), [0; 0]);
}

fn is_sleep(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|command| command.starts_with("sleep\0"))
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill runs");
    assert!(status.success());
}

/// A process of its own that runs `program` for `job` in `root`, and is its own guard's binary.
fn worker(root: &Path, job: &Job, program: &Program) -> Child {
    let arguments = [root.to_str().expect("plain"), &job.id.to_string(), "500"].map(str::to_owned);
    Command::new(TO_KILL).args(arguments).args(&program.command).spawn().expect("the helper is built")
}

#[tokio::test]
async fn kill_9_of_the_worker_leaves_nothing_and_is_noticed_at_the_next_start() {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (job, file) = (job(), other.path().join("started"));
    let mut worker = worker(root.path(), &job, &stubborn(&file));
    until("the grandchild runs", || has_line(&file)).await;

    // As long as the worker lives, its run is not left over.
    assert_eq!(recover(root.path(), Duration::from_secs(5)).await.unwrap(), []);
    assert!(processes_with(&mark(&job)).len() >= 3);

    worker.kill().unwrap();
    assert_eq!(worker.wait().unwrap().signal(), Some(9));
    until("nothing carries the mark", || processes_with(&mark(&job)).is_empty()).await;
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "the directory tells what was under way");

    let left = recover(root.path(), Duration::from_secs(30)).await.unwrap();
    assert_eq!(left, [LeftOver { id: job.id, attempt: 1 }]);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    assert_eq!(recover(root.path(), Duration::from_secs(30)).await.unwrap(), []);
}

#[tokio::test]
async fn recovering_waits_for_the_guard() {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (job, file) = (job(), other.path().join("started"));
    let mut worker = worker(root.path(), &job, &stubborn(&file));
    until("the grandchild runs", || has_line(&file)).await;
    worker.kill().unwrap();
    worker.wait().unwrap();
    // At once: the guard is still giving the program its grace.
    assert_eq!(recover(root.path(), Duration::from_secs(30)).await.unwrap().len(), 1);
    assert_eq!(processes_with(&mark(&job)), [0; 0]);
}

/// Guard and worker killed together, as when a machine runs out of memory: nobody is left to end the program.
#[tokio::test]
async fn recovering_kills_what_no_guard_ends() {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (job, file) = (job(), other.path().join("started"));
    let mut worker = worker(root.path(), &job, &stubborn(&file));
    until("the grandchild runs", || has_line(&file)).await;
    // The guard is stopped first, so that it cannot act when the worker dies; then it is killed.
    let guard = guard_of(&mark(&job)).expect("there is a guard");
    kill("-STOP", guard);
    worker.kill().unwrap();
    worker.wait().unwrap();
    kill("-KILL", guard);
    assert!(processes_with(&mark(&job)).len() >= 2, "program and grandchild run on");
    assert_eq!(recover(root.path(), Duration::from_secs(30)).await.unwrap().len(), 1);
    assert_eq!(processes_with(&mark(&job)), [0; 0]);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn recovering_leaves_alone_what_is_not_a_run() {
    let root = tempfile::tempdir().unwrap();
    let id = job().id;
    for name in [format!("{id}.3"), format!("{id}.4.{id}.new"), "lost+found".to_owned(), format!("{id}")] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    let left = recover(root.path(), Duration::from_secs(5)).await.unwrap();
    assert_eq!(left, [LeftOver { id, attempt: 3 }]);
    let mut kept: Vec<_> =
        fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    kept.sort();
    let mut expected = [id.to_string(), "lost+found".to_owned()];
    expected.sort();
    assert_eq!(kept, expected);
    assert_eq!(recover(&root.path().join("nothing"), Duration::ZERO).await.unwrap(), []);
}

/// The same attempt again, after a crash that was not recovered from.
#[tokio::test]
async fn an_attempt_that_was_left_over_makes_room() {
    let bench = Bench::new();
    let job = job();
    let left = bench.directory.path().join(format!("{}.1", job.id));
    fs::create_dir(&left).unwrap();
    fs::write(left.join("document"), "old").unwrap();
    let text = success(bench.run(job, sh("ls"), CancellationToken::new()).await);
    assert!(!text.contains("document"), "{text}");
}
