//! Real programs under a real guard: what they say and how they end.

#![allow(clippy::unwrap_used)] // the lint looks only into test functions, not into their helpers

mod common;

use common::{Bench, failure, job, sh, success};
use gateway_worker::{Ending, Event, GuardCommand, Job, ProcessLimits, Program};
use regex::Regex;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn json_text_and_nothing() {
    let bench = Bench::new();
    assert_eq!(success(bench.sh(r#"echo '{"b": [1, 2.50], "a": null}'"#).await), r#"{"b": [1, 2.50], "a": null}"#);
    assert_eq!(success(bench.sh(r"printf 'two\nlines\n\n'").await), r#""two\nlines""#);
    assert_eq!(success(bench.sh(r"printf 'a\377b'").await), "\"a\u{fffd}b\"");
    assert_eq!(success(bench.sh(":").await), "null");
}

#[tokio::test]
async fn a_program_sees_its_task_and_no_secret() {
    let bench = Bench::new();
    let job = job();
    let script = r#"cat "$1"; echo "|$2|$3|$(pwd)|$TMPDIR|$SERVICE_GATEWAY_TASK"; ls -d "$TMPDIR" "$3"; wc -c; env"#;
    let program = Program {
        environment: vec![("OWN".into(), "1".into())],
        ..Program::new(["sh", "-c", script, "sh", "{params}", "<{uuid}>", "{output}"])
    };
    let text = success(bench.run(job.clone(), program, CancellationToken::new()).await);
    let text: String = serde_json::from_str(&text).unwrap();
    let directory = format!("{}/{}.1", bench.directory.path().canonicalize().unwrap().display(), job.id);
    let id = job.id;
    let expected = format!(
        "{}|<{id}>|{directory}/output|{directory}|{directory}/tmp|{id}\n{directory}/output\n{directory}/tmp\n0\n",
        job.argument
    );
    assert!(text.starts_with(&expected), "{text}\nbut not\n{expected}");
    assert!(text.contains("OWN=1\n"), "{text}");
    let known = "PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ LD_LIBRARY_PATH TMPDIR OWN PWD OLDPWD SHLVL _ \
                 SERVICE_GATEWAY_TASK SERVICE_GATEWAY_RUN";
    let names = text[expected.len()..].lines().filter_map(|line| Some(line.split_once('=')?.0));
    let unknown: Vec<_> =
        names.filter(|name| !name.starts_with("LC_") && !known.split(' ').any(|k| k == *name)).collect();
    assert_eq!(unknown, [""; 0], "whatever else this process has in its environment may be a secret");
}

#[tokio::test]
async fn a_program_cannot_gain_privileges_and_leaves_no_core() {
    let bench = Bench::new();
    let text = success(bench.sh("grep NoNewPrivs /proc/self/status; ulimit -c; ulimit -Hc").await);
    assert_eq!(text, r#""NoNewPrivs:\t1\n0\n0""#);
}

#[tokio::test]
async fn limits_are_those_of_the_program_and_of_what_it_starts() {
    let bench = Bench::new();
    let limits = ProcessLimits { memory: Some(64 << 20), cpu_time: Some(Duration::from_secs(3)), open_files: Some(20) };
    let never = CancellationToken::new();
    let limited = |program: Program| Program { limits, ..program };
    let script =
        "sh -c 'ulimit -d; ulimit -t; ulimit -Ht; ulimit -n; ulimit -Hn'; grep NoNewPrivs /proc/self/status; wc -c";
    let text = success(bench.run(job(), limited(sh(script)), never.clone()).await);
    assert_eq!(text, r#""65536\n3\n8\n20\n20\nNoNewPrivs:\t1\n0""#);
    // The guard is not held to them: it ends what goes on.
    let program = Program { timeout: Duration::from_millis(500), ..limited(sh("trap '' TERM; sleep 60 & sleep 60")) };
    assert_eq!(failure(bench.run(job(), program, never.clone()).await).0, "TimeLimitExceeded");
    // What cannot be started is told as without limits.
    let (ending, _) = bench.run(job(), limited(Program::new(["no-such-program"])), never.clone()).await;
    assert!(matches!(&ending, Ending::Unstarted { message } if message.contains("was not found")), "{ending:?}");

    let greedy = Program::new(["python3", "-c", "bytearray(100 << 20)"]);
    let (class, message) = failure(bench.run(job(), limited(greedy.clone()), never.clone()).await);
    assert_eq!((class.as_str(), message.as_str()), ("SubprocessError", "exit status 1: MemoryError"));
    assert_eq!(success(bench.run(job(), greedy, never.clone()).await), "null");
    let limits = ProcessLimits { cpu_time: Some(Duration::from_secs(1)), ..ProcessLimits::default() };
    let endless = Program { limits, ..sh("while :; do :; done") };
    let (_, message) = failure(bench.run(job(), endless, never).await);
    assert!(message.contains("SIGXCPU") && message.contains("processor time"), "{message}");
}

/// When memory runs out, it is the program that the kernel should take, and neither guard nor worker.
#[tokio::test]
async fn a_program_is_killed_for_memory_before_its_guard() {
    let bench = Bench::new();
    let own: i32 = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    // The guard takes its own back at once, and so perhaps after the program has begun.
    let back = format!("until grep -qx -- {own} /proc/$PPID/oom_score_adj; do sleep 0.05; done");
    let text = success(bench.sh(&format!("{back}; cat /proc/self/oom_score_adj")).await);
    assert_eq!(text, (own + 500).min(1000).to_string());
}

#[tokio::test]
async fn failures_say_why() {
    let bench = Bench::new();
    let (class, message) =
        failure(bench.sh("echo first >&2; echo progress: 5 >&2; printf 'why\n\n' >&2; exit 3").await);
    assert_eq!((class.as_str(), message.as_str()), ("SubprocessError", "exit status 3: why"));
    let (_, message) = failure(bench.sh("exit 1").await);
    assert_eq!(message, "exit status 1");
    let (_, message) = failure(bench.sh("echo oops >&2; kill -SEGV $$").await);
    assert_eq!(message, "killed by signal SIGSEGV: oops");
    let never = CancellationToken::new();
    for missing in ["no-such-program-anywhere", "./no/such/program"] {
        let (class, message) = failure(bench.run(job(), Program::new([missing]), never.clone()).await);
        assert_eq!(class, "SubprocessError");
        assert!(message.contains("was not found") && message.contains("no"), "{message}");
    }
    let (_, message) = failure(bench.run(job(), Program::new(["/etc/passwd"]), never.clone()).await);
    assert!(message.contains("may not be executed"), "{message}");
    let (_, message) = failure(bench.run(job(), Program::new([""; 0]), never).await);
    assert!(message.contains("command is empty"), "{message}");
}

#[tokio::test]
async fn progress_and_its_order() {
    let bench = Bench::new();
    let (ending, events) =
        bench.sh("for n in 10 50 20 100; do printf \"progress: $n\\r\" >&2; sleep 0.25; done; echo done").await;
    assert_eq!(success((ending, Vec::new())), r#""done""#);
    assert!(matches!(&events[0], Event::Started { host, .. } if !host.is_empty()), "{events:?}");
    let done: Vec<_> = events.iter().filter(|event| matches!(event, Event::Progress { .. })).collect();
    assert_eq!(done.len(), events.len() - 1, "{events:?}");
    assert_eq!(events.last(), Some(&Event::Progress { done: 100.0 }));
    assert!(!events.contains(&Event::Progress { done: 20.0 }), "{events:?}");
}

#[tokio::test]
async fn a_program_with_its_own_way_to_tell_progress() {
    let bench = Bench::new();
    let program = Program {
        progress: Some(Regex::new(r"frame=(\d+)/(\d+)").unwrap()),
        ..sh("echo frame=1/4; echo '{\"a\":'; echo frame=4/4; echo '1}'; echo at frame=2/4 now >&2")
    };
    let (ending, events) = bench.run(job(), program, CancellationToken::new()).await;
    assert_eq!(success((ending, Vec::new())), "{\"a\":\n1}");
    assert_eq!(events.last(), Some(&Event::Progress { done: 100.0 }));
}

#[tokio::test]
async fn as_much_as_the_limit_and_no_more() {
    let bench = Bench::new();
    let at_limit = success(bench.sh("head -c 1048576 /dev/zero | tr '\\0' a").await);
    assert_eq!(at_limit.len(), (1 << 20) + 2);
    let (class, message) = failure(bench.sh("head -c 5000000 /dev/zero | tr '\\0' a").await);
    assert_eq!(class, "SubprocessError");
    assert!(message.contains("1048576"), "{message}");
}

#[tokio::test]
async fn endless_output_is_stopped() {
    let bench = Bench::new();
    let (_, message) = failure(bench.sh("yes").await);
    assert!(message.contains("limit for a result"), "{message}");
    // It takes no notice of SIGTERM, and its output must be taken all the same until it is killed.
    let (_, message) =
        failure(bench.sh("trap '' TERM; while :; do echo 0123456789012345678901234567890123456789; done").await);
    assert!(message.contains("limit for a result"), "{message}");
}

#[tokio::test]
async fn a_line_of_ten_megabytes_is_cut() {
    let bench = Bench::new();
    let (_, message) =
        failure(bench.sh("head -c 10000000 /dev/zero | tr '\\0' e >&2; echo >&2; echo end >&2; exit 1").await);
    assert_eq!(message, "exit status 1: end");
    let (_, message) = failure(bench.sh("head -c 10000000 /dev/zero | tr '\\0' e >&2; exit 1").await);
    assert_eq!(message, format!("exit status 1: {}", "e".repeat(1000)));
}

#[tokio::test]
async fn time_limits_are_kept() {
    let bench = Bench::new();
    let program = Program { timeout: Duration::from_millis(300), ..sh("trap '' TERM; sleep 60 & wait; sleep 60") };
    let (class, message) = failure(bench.run(job(), program, CancellationToken::new()).await);
    assert_eq!(class, "TimeLimitExceeded");
    assert!(message.contains("300ms"), "{message}");
}

/// A server that answers each request with `answer`.
async fn serve(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://ann:pa55@{}/talk.wav", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = socket.read(&mut head).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn documents_are_fetched_if_they_are_asked_for() {
    let bench = Bench::new();
    let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let asks = || Program::new(["sh", "-c", "cat $0; basename $0", "{document}"]);
    let with = |url: &str| Job { document_url: Some(url.to_owned()), ..job() };
    let never = CancellationToken::new();
    assert_eq!(success(bench.run(with(&url), asks(), never.clone()).await), r#""hellodocument.wav""#);
    assert_eq!(
        success(bench.run(with("http://nowhere.invalid/x"), sh("ls | sort | head -1"), never.clone()).await),
        r#""lock""#
    );

    let small = Program { max_document: 4, ..asks() };
    let (class, message) = failure(bench.run(with(&url), small, never.clone()).await);
    assert_eq!(class, "DownloadError");
    assert!(message.contains("larger than 4 bytes") && !message.contains("pa55"), "{message}");
    let missing = serve("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    let (class, message) = failure(bench.run(with(&missing), asks(), never.clone()).await);
    assert_eq!(class, "DownloadError");
    assert!(message.contains("404"), "{message}");
    let (class, _) = failure(bench.run(job(), asks(), never).await);
    assert_eq!(class, "MissingParameterError");
}

#[tokio::test]
async fn a_download_is_stopped_like_a_program() {
    let bench = Bench::new();
    let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello").await;
    let job = || Job { document_url: Some(url.clone()), ..job() };
    let program = |timeout| Program { timeout, ..Program::new(["cat", "{document}"]) };
    // The connection is closed in the middle, so the download fails; a server that holds it is the next one's.
    let (class, _) = failure(bench.run(job(), program(Duration::from_secs(60)), CancellationToken::new()).await);
    assert_eq!(class, "DownloadError");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let held = Job { document_url: Some(format!("http://{}/x", listener.local_addr().unwrap())), ..job() };
    let limited = program(Duration::from_millis(200));
    let (class, _) = failure(bench.run(held.clone(), limited, CancellationToken::new()).await);
    assert_eq!(class, "TimeLimitExceeded");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (ending, _) = bench.run(held, program(Duration::from_secs(60)), cancel).await;
    assert!(matches!(ending, Ending::Cancelled), "{ending:?}");
}

#[tokio::test]
async fn without_a_guard_nothing_runs() {
    let bench = Bench::with_guard(GuardCommand::program("/nonexistent/guard"));
    let (class, message) = failure(bench.sh(":").await);
    assert_eq!(class, "OSError");
    assert!(message.contains("guard could not be started"), "{message}");
    // A guard that is none.
    let bench = Bench::with_guard(GuardCommand::program("/bin/true"));
    let (ending, _) = bench.sh(":").await;
    assert!(matches!(ending, Ending::Lost { .. }), "{ending:?}");
    assert!(bench.runner.free_space().unwrap() > 0);
}
