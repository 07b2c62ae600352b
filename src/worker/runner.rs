//! From a job to its ending.

use crate::{
    DynHandler, Ending, Event, Job, Program, RunnerFault, RunnerSettings, around,
    directory::{self, RunDirectory},
    judge::{Stop, judge},
    notes::Note,
    output::{Collector, Explanation, Lines, drain, plain},
    progress::Progress,
    recover::clear,
    supervise::{Guarded, Start},
};
use gateway_contract::{TraceContext, span};
use gateway_outside::{Client, DownloadFault};
use serde_json::{Value, value::RawValue};
use std::{
    ffi::OsString,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    join, select,
    sync::mpsc,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What a program may see of our environment, beside `LC_*`.
const INHERITED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH"];
/// How long the event that a task started waits for room in the receiver's queue.
const TELLING: Duration = Duration::from_secs(5);
/// How long, after the guard is gone, pipes that somebody else holds open are still read.
const DRAINING: Duration = Duration::from_secs(5);
/// How long an attempt that was left over under the same name may take to go away.
const CLEARING: Duration = Duration::from_secs(30);
/// So many other processes may have the same attempt of the same task in hand.
const OTHERS: u32 = 8;
/// "For ever", where a time limit is too large to add to a clock.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Runs programs for tasks, as many at once as it is asked to.
#[derive(Debug)]
pub struct Runner {
    settings: RunnerSettings,
    root: String,
    host: String,
    inherited: Vec<(OsString, OsString)>,
}

impl Runner {
    /// A runner; makes its directory, for nobody's eyes but ours.
    ///
    /// # Errors
    /// [`RunnerFault`].
    pub fn new(settings: RunnerSettings) -> Result<Self, RunnerFault> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&settings.directory);
        let root = made
            .and_then(|()| settings.directory.canonicalize())
            .map_err(|cause| RunnerFault::Directory { path: settings.directory.clone(), cause })?;
        let root = root.into_os_string().into_string().map_err(|root| RunnerFault::NotUtf8(root.into()))?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let inherited = std::env::vars_os()
            .filter(|(name, _)| name.to_str().is_some_and(|name| INHERITED.contains(&name) || name.starts_with("LC_")))
            .collect();
        Ok(Self { settings, root, host, inherited })
    }

    /// This machine's name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The bytes that are free where documents go: too few, and nothing new should be begun.
    ///
    /// # Errors
    /// What the file system says.
    pub fn free_space(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.root)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Runs `program` for `job`.
    ///
    /// Tells `events` that it started and how far it is; a receiver that is gone holds nothing up, and a slow one five
    /// seconds at the start and at the end. Hands in annotations and files where the argument asks for it. Stops when
    /// `cancel` is cancelled. Returns when nothing of the program runs any more and its directory is gone. If the future
    /// is dropped before, the guard stops the program all the same, but the directory stays for [`crate::recover`].
    pub async fn run(
        &self,
        mut job: Job,
        program: &Program,
        events: mpsc::Sender<Event>,
        cancel: CancellationToken,
    ) -> Ending {
        let deadline = after(program.timeout);
        if let Some(fault) = program.fault() {
            return Ending::Unstarted { message: fault };
        }
        let directory = match self.make_directory(&mut job).await {
            Ok(directory) => directory,
            Err(error) => return Ending::io("the run directory could not be made", &error),
        };
        let start = Event::Started { host: self.host.clone(), start_time: SystemTime::now() };
        drop(timeout(TELLING, events.send(start)).await); // nobody has to listen
        let fetched = select! {
            biased;
            stop = self.stop(&cancel, deadline) => Err(stop.ending(program)),
            fetched = self.fetch(&job, program, &directory, deadline) => fetched,
        };
        let ending = match fetched {
            // Boxed: it is much larger than what comes before.
            Ok(()) => Box::pin(self.execute(&job, program, &directory, &events, &cancel, deadline)).await,
            Err(ending) => ending,
        };
        let ending = match ending {
            Ending::Success(result) => {
                let hands_in = self.hand_in(&job, Some(directory.output().into()), result, &events);
                select! {
                    biased;
                    stop = self.stop(&cancel, deadline) => stop.ending(program),
                    ending = Box::pin(hands_in) => ending,
                }
            }
            ending => ending,
        };
        tracing::debug!(uuid = %job.id, service = job.service, attempt = job.attempt, ending = ending.name(), "a run ended");
        // If the runtime ends before, the next start removes it.
        if let Ok(Err(error)) = spawn_blocking(move || directory.remove()).await {
            tracing::warn!(uuid = %job.id, %error, "a run directory could not be removed");
        }
        ending
    }

    /// Runs a handler for `job`, which may take `limit`; otherwise as [`Runner::run`]. A handler that is to stop is
    /// dropped where it waits.
    pub async fn call(
        &self,
        job: Job,
        handler: &DynHandler,
        limit: Duration,
        events: mpsc::Sender<Event>,
        cancel: CancellationToken,
    ) -> Ending {
        let deadline = after(limit);
        let start = Event::Started { host: self.host.clone(), start_time: SystemTime::now() };
        drop(timeout(TELLING, events.send(start)).await); // nobody has to listen
        let (given_up, note) = (Arc::<AtomicBool>::default(), Note::of(&self.root, job.id));
        // Before the handler is dropped, which happens as soon as this is known.
        let stops = async {
            let stop = self.stop(&cancel, deadline).await;
            given_up.store(stop != Stop::ShuttingDown, Relaxed);
            stop
        };
        let works = async {
            match handler.call(&job, &self.settings.client, &note, &events, &given_up).await {
                Ending::Success(result) => self.hand_in(&job, None, result, &events).await,
                ending => ending,
            }
        };
        let ending = select! {
            biased;
            stop = stops => match stop {
                Stop::Cancelled => Ending::Cancelled,
                Stop::ShuttingDown => Ending::Aborted,
                Stop::TimeLimit | Stop::TooLarge => Ending::timeout(limit),
            },
            ending = Box::pin(works) => ending,
        };
        tracing::debug!(uuid = %job.id, service = job.service, attempt = job.attempt, ending = ending.name(), "a run ended");
        ending
    }

    /// A task's end has been handed over: what its handler noted of it is of no more use.
    pub fn forget(&self, id: Uuid) {
        Note::of(&self.root, id).forget();
    }

    /// Tells the callback that a task's argument names, if it names one, how the task ended. Takes ten seconds at most;
    /// a failure is only logged.
    pub async fn call_back(&self, id: Uuid, trace: Option<TraceContext>, argument: &Value, status: &str) {
        around::call_back(&self.settings.client, trace.as_ref(), argument, id, status).await;
    }

    /// The client that tells whomever it asks of this place in a trace.
    fn client_at(&self, place: Option<&TraceContext>) -> Client {
        around::client_at(&self.settings.client, place)
    }

    async fn hand_in(
        &self,
        job: &Job,
        output: Option<PathBuf>,
        result: Box<RawValue>,
        events: &mpsc::Sender<Event>,
    ) -> Ending {
        around::hand_in(&self.settings.client, self.settings.files.as_deref(), job, output, result, events).await
    }

    /// Makes the run's directory. One that was left over makes room; one that another living process has in hand (a task
    /// that was given out twice) makes this run a further attempt.
    async fn make_directory(&self, job: &mut Job) -> io::Result<RunDirectory> {
        for _ in 0..OTHERS {
            match self.try_directory(job).await {
                Err(error) if is_taken(&error) => {
                    if !clear(Path::new(&directory::path(&self.root, job)), after(CLEARING)).await {
                        job.attempt += 1;
                    }
                }
                made => return made,
            }
        }
        self.try_directory(job).await
    }

    async fn try_directory(&self, job: &Job) -> io::Result<RunDirectory> {
        let (root, job) = (self.root.clone(), job.clone());
        spawn_blocking(move || RunDirectory::create(&root, &job)).await.map_err(io::Error::other)?
    }

    /// Resolves when a run is to end, whatever it is doing.
    async fn stop(&self, cancel: &CancellationToken, deadline: Instant) -> Stop {
        select! {
            biased;
            () = cancel.cancelled() => Stop::Cancelled,
            () = self.settings.shutdown.cancelled() => Stop::ShuttingDown,
            () = sleep_until(deadline) => Stop::TimeLimit,
        }
    }

    /// Fetches the document if the command asks for it.
    async fn fetch(
        &self,
        job: &Job,
        program: &Program,
        directory: &RunDirectory,
        deadline: Instant,
    ) -> Result<(), Ending> {
        if !program.wants_document() {
            return Ok(());
        }
        let Some(url) = &job.document_url else {
            let message = "the service's program needs a document, and the task has none: give doc_url";
            return Err(Ending::Failure { class: "MissingParameterError".into(), message: message.to_owned() });
        };
        let to = Path::new(directory.document());
        let span = span!(
            job.trace.as_ref(),
            "download",
            "client",
            otel.name = "GET",
            http.request.method = "GET",
            url.full = gateway_outside::redact(url),
        );
        let client = self.client_at(span.context());
        let fetched = client.download(url, to, program.max_document, deadline, |_, _| ()).await;
        if let Err(fault) = &fetched {
            span.fail(fault);
        }
        drop(span);
        match fetched {
            Ok(_) => Ok(()),
            Err(DownloadFault::Deadline { .. }) => Err(Ending::timeout(program.timeout)),
            Err(DownloadFault::File(error)) => Err(Ending::io("the document could not be written", &error)),
            Err(fault) => Err(Ending::Failure { class: "DownloadError".into(), message: fault.to_string() }),
        }
    }

    async fn execute(
        &self,
        job: &Job,
        program: &Program,
        directory: &RunDirectory,
        events: &mpsc::Sender<Event>,
        cancel: &CancellationToken,
        deadline: Instant,
    ) -> Ending {
        let command = match absolute(program.command_for(job, directory)) {
            Ok(command) => command,
            Err(error) => return Ending::io("the working directory is not there", &error),
        };
        let span = span!(
            job.trace.as_ref(),
            "command",
            "internal",
            process.executable.name = program.command.first().map(|it| it.rsplit('/').next().unwrap_or(it)),
            gateway.task = tracing::field::display(job.id),
        );
        let started = Guarded::start(Start {
            guard: &self.settings.guard,
            directory,
            grace: self.settings.grace,
            limits: program.limits,
            command,
            inherited: &self.inherited,
            environment: &program.environment,
            id: job.id,
            trace: span.context(),
        });
        let (guarded, stdout, stderr) = match started {
            Ok(started) => started,
            Err(error) => return Ending::io("the program's guard could not be started", &error),
        };
        let progress = Progress::new(program.progress.clone());
        let [too_much, gone, finished] = [(); 3].map(|()| CancellationToken::new());
        let mut collector = Collector::new(program.max_result, program.max_line, &progress);
        let mut log = Log::new(job, program.max_line);
        let enough = || async {
            gone.cancelled().await;
            sleep(DRAINING).await;
        };
        let stop = async {
            select! {
                stop = self.stop(cancel, deadline) => stop,
                () = too_much.cancelled() => Stop::TooLarge,
            }
        };
        let work = async {
            let attends = async {
                let outcome = guarded.attend(stop).await;
                gone.cancel();
                outcome
            };
            let output = drain(stdout, enough(), |piece| {
                if collector.take(piece) {
                    too_much.cancel();
                }
            });
            let errors = drain(stderr, enough(), |piece| log.take(piece, &progress));
            let (outcome, (), ()) = join!(attends, output, errors);
            finished.cancel();
            outcome
        };
        let (outcome, ()) = join!(work, progress.forward(events, &finished));
        let explanation = log.finish(&progress);
        let ending = judge(outcome, program, collector.finish(), &explanation);
        if let Some(why) = ending.fault() {
            span.fail(&why);
        }
        ending
    }
}

/// A program's standard error: progress, log, and why it failed.
struct Log<'a> {
    job: &'a Job,
    lines: Lines,
    explanation: Explanation,
}

impl<'a> Log<'a> {
    fn new(job: &'a Job, max_line: usize) -> Self {
        Self { job, lines: Lines::new(max_line), explanation: Explanation::default() }
    }

    fn take(&mut self, piece: &[u8], progress: &Progress) {
        let Self { job, lines, explanation } = self;
        lines.take(piece, |line| log_line(job, explanation, line, progress));
    }

    fn finish(mut self, progress: &Progress) -> Explanation {
        let Self { job, lines, explanation } = &mut self;
        lines.end(|line| log_line(job, explanation, line, progress));
        self.explanation
    }
}

fn log_line(job: &Job, explanation: &mut Explanation, line: &str, progress: &Progress) {
    if !progress.hear_error(line) {
        let line = plain(line);
        tracing::debug!(uuid = %job.id, service = job.service, "{line}");
        explanation.take(&line);
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

/// A program that is given by a relative path is meant from where we are, not from the run directory.
fn absolute(mut command: Vec<String>) -> io::Result<Vec<String>> {
    if let Some(program) = command.first_mut()
        && program.contains('/')
        && let Ok(path) = std::path::absolute(&*program)?.into_os_string().into_string()
    {
        *program = path;
    }
    Ok(command)
}

fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or_else(|| now + FOR_EVER)
}
