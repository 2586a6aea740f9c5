//! Puts the rooms together: one core per shard, control beside them, an orderly start and end.
//!
//! The start, in order: checks and the lock on the data directory; metadata; each core recovers its
//! logs into a new generation of journals; the new generation becomes the valid one; each core opens
//! what is new, and serves. A signal ends it: cores finish what is in flight, flush, write the clean
//! marker. What a core's parts are told is in `options`, what it tells of itself meanwhile in `measuring`.

mod measuring;
mod options;

use std::{
    collections::HashSet,
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use futures_lite::FutureExt;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{self, WeakSender},
};

use crate::{
    config::{self, ConfigError, Settings},
    control::{
        Applied, Control, ControlError, ControlReply, ControlRequest, Given, NodeSettings, ReplyTo, ShardLink,
    },
    coordinator::service::Coordinator,
    handlers::Handlers,
    http::{self, Names, Watched},
    io::{
        clock::Clock,
        cores::{self, Core, CoreClock, Queue, QueueShares, run_once, spawn},
        direct::DirectDisk,
        disk::Disk,
        doorbell::Doorbell,
        mailbox::{MailReceiver, MailSender, mailbox},
        net::{self, Listener},
        ring::{DiskBounds, Ring},
        send::Sending,
    },
    log::{
        Generation, OpenError, Store, current_generation, move_orphans, publish_generation, remove_others,
    },
    metrics::{Counter, Gauge, ShardMetrics, Snapshot},
    model::{Broker, ClusterView, ErrorCode, ShardId, TopicPartition},
    server,
    shard::{
        CONTROL_REQUESTS_MAX, ControlSender, Shard, ShardParts,
        router::{Letter, Router, Ticket},
        throttle::Throttles,
    },
    startup::{DiskShare, Prepared, Pulse, ServiceManager, StartError, disk_bounds, prepare},
};

use measuring::{MEASURE_INTERVAL, measure, measure_lags};
use options::{coordinator_settings, file_path, ring_options, store_options};

/// How long a stop waits for what is acknowledged to leave the journal: on a full disk it cannot.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// A core whose gauges have not been measured for this long hangs.
const CORE_STILL_MAX: Duration = Duration::from_secs(4 * MEASURE_INTERVAL.as_secs());

/// Why the broker did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A check before the start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The cluster's metadata cannot be read.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The logs cannot be opened.
    #[error("{0}")]
    Open(String),
    /// A thread, a ring or a socket was refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A core has ended on its own.
    #[error("core {0} has ended unexpectedly")]
    CoreEnded(usize),
    /// What was acknowledged is safe; the next start recovers the rest.
    #[error("the end was not clean: {0}")]
    Unclean(String),
}

impl From<OpenError> for BrokerError {
    fn from(error: OpenError) -> Self {
        Self::Open(error.to_string())
    }
}

/// What a core says to the main thread.
enum Report {
    Recovered,
    Serving,
    Ended,
    Failed(String),
}

/// Control's way to one core. Only the control thread uses it; the lock is for the type.
#[derive(Clone)]
struct Link(Arc<Mutex<MailSender<Letter>>>);

impl Link {
    fn send(&self, mut letter: Letter) {
        loop {
            let sent = self.0.lock().map(|mut sender| sender.send(letter));
            match sent {
                Ok(Ok(())) => return,
                Ok(Err(back)) => letter = back,
                Err(_) => return, // a thread has panicked with it: the process is ending
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl ShardLink for Link {
    fn publish(&self, view: Arc<ClusterView>, applied: Applied) {
        self.send(Letter::View { view, applied });
    }

    fn configure(&self, settings: Arc<Settings>) {
        self.send(Letter::Settings(settings));
    }
}

/// Everything a core is given; moves to its thread.
struct CoreParts {
    id: ShardId,
    settings: Arc<Settings>,
    disk: DiskBounds,
    doorbell: Arc<Doorbell>,
    senders: Vec<Option<MailSender<Letter>>>,
    incoming: Vec<MailReceiver<Letter>>,
    from_control: Link,
    control: ControlSender,
    view: Arc<ClusterView>,
    former: Generation,
    listener: TcpListener,
    metrics: Arc<ShardMetrics>,
    throttles: Arc<Throttles>,
    reports: Sender<(usize, Report)>,
}

/// Runs the broker until a signal ends it. `ready` is called once, with its address and that of HTTP, when it
/// serves; `read_again` gives the settings anew at every SIGHUP.
///
/// # Errors
/// See [`BrokerError`].
pub fn run(
    mut settings: Settings,
    read_again: impl Fn() -> Result<Settings, ConfigError> + 'static,
    ready: impl FnOnce(SocketAddr, Option<SocketAddr>),
) -> Result<(), BrokerError> {
    let Prepared { directories, disk, addresses, .. } = prepare(&settings)?;
    settings.use_data_dirs(directories.all(), directories.of_shards());
    let http_listener = bind_http(&settings)?;
    let settings = Arc::new(settings);
    let given = settings.clone();
    let shards = settings.shards.len();
    let control = Control::open(&settings.data_dir, shards as u16, node_settings(&settings, &addresses))?;
    let (view, settings) = (control.view(), control.settings());
    let first_cpu = settings.shards[0].core;
    let former = former_generation(first_cpu, &settings, &view)?;

    let (control_sender, control_requests) = mpsc::channel(CONTROL_REQUESTS_MAX);
    let (reports, reported) = channel();
    let (cores, links, metrics) =
        start_cores(&settings, &disk, &addresses, &view, former, &control_sender, &reports)?;
    // Control ends when nobody can ask it any more: the reload must not be who keeps it.
    let to_control = control_sender.downgrade();
    drop((control_sender, reports));
    let stop = |cores: Vec<Core>| {
        links.iter().for_each(|link| link.send(Letter::Stop));
        cores.into_iter().try_for_each(Core::join)
    };
    if let Err(error) = wait_for_all(&reported, shards) {
        let _ = stop(cores);
        return Err(error);
    }
    let next = Generation { number: former.number + 1, shards: shards as u32 };
    let data = settings.data_dir.clone();
    run_once(first_cpu, move |disk| async move { publish_generation(&*disk, &data, next).await })??;
    links.iter().for_each(|link| link.send(Letter::Serve));
    if let Err(error) = wait_for_all(&reported, shards) {
        let _ = stop(cores);
        return Err(error);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = runtime.block_on(Signals::new())?;
    // Before anybody knows that we run: the kernel's default for it would end the process.
    let hangup = runtime.block_on(async { signal(SignalKind::hangup()) })?;
    let names = Names { api: api_name, error: error_name };
    let watched = Watched::new(metrics.clone(), names, addresses[0]);
    let http = match http_listener {
        Some(listener) => Some(http::serve(listener, watched)?),
        None => None,
    };
    ready(addresses[0], http);
    let manager = ServiceManager::of_environment().map(Rc::new);
    if let Some(manager) = &manager {
        manager.ready(&format!("on {}, {shards} shards", addresses[0]));
    }
    let boxed = links.iter().map(|link| Box::new(link.clone()) as Box<dyn ShardLink>).collect();
    let every = Duration::from_millis(settings.metrics_log_interval_ms);
    let reloads = reload_on_hangup(hangup, given, to_control, read_again);
    let control = control.run(control_requests, boxed);
    let log = log_metrics_often(metrics.clone(), every);
    run_control(&runtime, signals, control, reloads, log, show_pulse(manager.clone(), metrics.clone()));
    if let Some(manager) = manager {
        manager.stopping();
    }
    stop(cores)?;
    tracing::info!("counted: {}", line_of(&metrics));
    match reported.try_iter().find_map(failure) {
        Some(why) => Err(BrokerError::Unclean(why)),
        None => Ok(()),
    }
}

/// How many reads and writes of files each core would have under way at once, in words.
///
/// # Errors
/// What was measured of a disk is not sound, or not where the settings say.
pub fn disk_sentences(settings: &Settings) -> Result<Vec<String>, StartError> {
    Ok(disk_bounds(settings)?.iter().map(DiskShare::sentence).collect())
}

fn bind_http(settings: &Settings) -> Result<Option<TcpListener>, BrokerError> {
    let Some(endpoint) = &settings.http_listen else { return Ok(None) };
    let may_move = !settings.is_given("http.listen");
    let failed = |source| StartError::Listen { endpoint: endpoint.clone(), source };
    Ok(Some(http::bind(&endpoint.host, endpoint.port, may_move).map_err(failed)?))
}

fn api_name(key: i16) -> Option<&'static str> {
    crate::wire::api::find(key).map(|api| api.name)
}

fn error_name(code: i16) -> String {
    ErrorCode::from_number(code).map_or_else(|| code.to_string(), ErrorCode::name)
}

fn failure((core, report): (usize, Report)) -> Option<String> {
    match report {
        Report::Failed(why) => Some(format!("shard {core}: {why}")),
        Report::Recovered | Report::Serving | Report::Ended => None,
    }
}

fn node_settings(settings: &Arc<Settings>, addresses: &[SocketAddr]) -> NodeSettings {
    let broker = |(index, address): (u16, &SocketAddr)| {
        let told = settings.advertised_of(ShardId(index));
        Broker {
            id: settings.broker_of(ShardId(index)),
            host: told.host,
            port: if told.port == 0 { address.port() } else { told.port },
        }
    };
    let mut brokers: Vec<_> = (0..).zip(addresses).map(broker).collect();
    if !settings.per_core_listeners {
        brokers.truncate(1);
    }
    NodeSettings { brokers, settings: settings.clone() }
}

/// What the data directories hold, with directories of partitions that nobody knows set aside.
fn former_generation(cpu: usize, settings: &Settings, view: &ClusterView) -> Result<Generation, BrokerError> {
    let (first, all) = (settings.data_dir.clone(), settings.data_dirs.clone());
    let known: HashSet<_> = partitions_of(view).map(|(id, _)| id).collect();
    let found = run_once(cpu, move |disk| async move {
        let former = current_generation(&*disk, &first).await?;
        for data in all {
            if data != first {
                remove_others(&*disk, &data, former).await?;
            }
            for orphan in move_orphans(&*disk, &data, &known).await? {
                tracing::warn!(directory = %orphan.display(), "nobody knows this partition; it was moved to orphaned/");
            }
        }
        Ok::<_, OpenError>(former)
    })?;
    Ok(found?)
}

fn partitions_of(view: &ClusterView) -> impl Iterator<Item = (TopicPartition, ShardId)> + '_ {
    view.topics().flat_map(|topic| {
        let id = topic.id;
        topic
            .partitions
            .iter()
            .map(move |placed| (TopicPartition { topic: id, partition: placed.index }, placed.shard))
    })
}

type Started = (Vec<Core>, Vec<Link>, Vec<Arc<ShardMetrics>>);

fn start_cores(
    settings: &Arc<Settings>,
    disk: &[DiskShare],
    addresses: &[SocketAddr],
    view: &Arc<ClusterView>,
    former: Generation,
    control: &ControlSender,
    reports: &Sender<(usize, Report)>,
) -> Result<Started, BrokerError> {
    let shards = settings.shards.len();
    let doorbells = (0..shards).map(|_| Doorbell::new().map(Arc::new)).collect::<io::Result<Vec<_>>>()?;
    let mut senders: Vec<Vec<Option<MailSender<Letter>>>> = (0..shards).map(|_| Vec::new()).collect();
    let mut incoming: Vec<Vec<MailReceiver<Letter>>> = (0..shards).map(|_| Vec::new()).collect();
    let mut links = Vec::with_capacity(shards);
    for (to, doorbell) in doorbells.iter().enumerate() {
        for (from, senders) in senders.iter_mut().enumerate() {
            let pair = (from != to).then(|| mailbox(doorbell.clone()));
            let (sender, receiver) = pair.unzip();
            senders.push(sender);
            incoming[to].extend(receiver);
        }
        let (sender, receiver) = mailbox(doorbell.clone());
        links.push(Link(Arc::new(Mutex::new(sender))));
        incoming[to].push(receiver);
    }
    let mut cores = Vec::with_capacity(shards);
    let mut metrics = Vec::with_capacity(shards);
    let throttles = Arc::new(Throttles::default());
    for (index, (senders, incoming)) in senders.into_iter().zip(incoming).enumerate() {
        let counted = Arc::new(ShardMetrics::default());
        metrics.push(counted.clone());
        let parts = CoreParts {
            id: ShardId(index as u16),
            settings: settings.clone(),
            disk: disk[index].bounds(),
            doorbell: doorbells[index].clone(),
            senders,
            incoming,
            from_control: links[index].clone(),
            control: control.clone(),
            view: view.clone(),
            former,
            listener: net::listen(addresses[index])?,
            metrics: counted,
            throttles: throttles.clone(),
            reports: reports.clone(),
        };
        let name = format!("shard-{index}");
        let own = &settings.shards[index];
        let shares = QueueShares { foreground: own.foreground_shares, housekeeping: own.housekeeping_shares };
        cores.push(Core::start_with(own.core, &name, shares, move || run_core(parts))?);
    }
    Ok((cores, links, metrics))
}

/// Waits until every core has said that it has come as far.
fn wait_for_all(reported: &Receiver<(usize, Report)>, shards: usize) -> Result<(), BrokerError> {
    for _ in 0..shards {
        match reported.recv() {
            Ok((_, Report::Recovered | Report::Serving)) => {}
            Ok((_, Report::Failed(why))) => return Err(BrokerError::Open(why)),
            Ok((core, Report::Ended)) => return Err(BrokerError::CoreEnded(core)),
            Err(_) => return Err(BrokerError::CoreEnded(0)),
        }
    }
    Ok(())
}

/// The signals that end the broker.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes them over from the kernel's default, which would end the process at once.
    async fn new() -> io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
    }

    async fn received(mut self) -> &'static str {
        let terminated = async {
            self.terminate.recv().await;
            "SIGTERM"
        };
        let interrupted = async {
            self.interrupt.recv().await;
            "SIGINT"
        };
        terminated.or(interrupted).await
    }
}

/// Serves control until a signal comes.
fn run_control(
    runtime: &Runtime,
    signals: Signals,
    control: impl Future<Output = ()> + 'static,
    reloads: impl Future<Output = ()> + 'static,
    log: impl Future<Output = ()> + 'static,
    pulse: impl Future<Output = ()> + 'static,
) {
    runtime.block_on(async {
        let serving = tokio::task::LocalSet::new();
        let _control = serving.spawn_local(control);
        let _reloads = serving.spawn_local(reloads);
        let _log = serving.spawn_local(log);
        let _pulse = serving.spawn_local(pulse);
        let signal = serving.run_until(signals.received()).await;
        tracing::info!("{signal}: finishing what is in flight");
    });
}

/// Reads the settings again at every SIGHUP, and gives control what of them is live.
async fn reload_on_hangup(
    mut hangup: Signal,
    mut settings: Arc<Settings>,
    control: WeakSender<(ControlRequest, ReplyTo)>,
    read_again: impl Fn() -> Result<Settings, ConfigError>,
) {
    while hangup.recv().await.is_some() {
        match read_again().and_then(|wanted| config::reload(&settings, &wanted)) {
            Ok((changed, later)) => {
                for name in later {
                    tracing::warn!("\"{name}\" changes with the next start only");
                }
                settings = Arc::new(changed);
                let request = (ControlRequest::Give(Given(settings.clone())), ignore_reply());
                if let Some(control) = control.upgrade() {
                    let _ = control.send(request).await;
                }
                tracing::info!("SIGHUP: the configuration was read again");
            }
            Err(error) => tracing::error!("SIGHUP: no setting was changed: {error}"),
        }
    }
}

fn ignore_reply() -> ReplyTo {
    Box::new(|_| ())
}

/// Tells the service manager's watchdog, if there is one, that all cores move, for as long as they do.
async fn show_pulse(manager: Option<Rc<ServiceManager>>, metrics: Vec<Arc<ShardMetrics>>) {
    let Some((manager, watchdog)) = manager.and_then(|manager| Some((manager.clone(), manager.watchdog()?)))
    else {
        return;
    };
    let start = std::time::Instant::now();
    let mut pulse = Pulse::default();
    loop {
        let counts = metrics.iter().map(|shard| shard.snapshot().get(Counter::Beats));
        if pulse.beats(counts, start.elapsed(), CORE_STILL_MAX) {
            manager.alive();
        }
        tokio::time::sleep((watchdog / 2).min(MEASURE_INTERVAL)).await;
    }
}

/// Logs what was counted so far, every so often; never if `every` is zero.
async fn log_metrics_often(metrics: Vec<Arc<ShardMetrics>>, every: Duration) {
    while !every.is_zero() {
        tokio::time::sleep(every).await;
        tracing::debug!("counted so far: {}", line_of(&metrics));
    }
}

fn line_of(metrics: &[Arc<ShardMetrics>]) -> String {
    let mut sum = Snapshot::default();
    metrics.iter().for_each(|shard| sum += &shard.snapshot());
    let name =
        |key: i16| crate::wire::api::find(key).map_or_else(|| key.to_string(), |api| api.name.to_owned());
    sum.line(name).to_string()
}

/// The life of one core.
async fn run_core(parts: CoreParts) {
    let (index, reports) = (parts.id.index(), parts.reports.clone());
    let report = match serve_core(parts).await {
        Ok(()) => Report::Ended,
        Err(why) => Report::Failed(why),
    };
    // The main thread may have stopped listening: it is ending then.
    let _ = reports.send((index, report));
}

async fn serve_core(parts: CoreParts) -> Result<(), String> {
    let index = parts.id.index();
    let own = &parts.settings.shards[index];
    let ring = Ring::new(&ring_options(own, parts.disk), parts.doorbell)
        .map_err(|error| format!("io_uring: {error}"))?;
    let disk: Rc<dyn Disk> = Rc::new(DirectDisk::new(ring.clone()));
    let clock: Rc<dyn Clock> = Rc::new(CoreClock::of(ring.clone()));
    let router = Router::new(parts.id, parts.senders, parts.incoming);

    // The driver must run before anything is read; letters are taken once there is a shard.
    let shard_of_driver: Rc<std::cell::OnceCell<Rc<Shard>>> = Rc::default();
    let shard_cell = shard_of_driver.clone();
    let turns = parts.metrics.clone();
    let drain = move || shard_cell.get().map_or(0, Shard::take_letters);
    spawn(Queue::Foreground, ring.clone().drive(drain, move |stall| turns.stalled(stall)));

    let owned = parts.view.topics().flat_map(|topic| {
        let settings = topic.settings.clone();
        let here = topic.partitions.iter().filter(|placed| placed.shard == parts.id);
        here.map(move |placed| {
            (TopicPartition { topic: topic.id, partition: placed.index }, settings.clone())
        })
    });
    let owned = owned.collect();
    let options = store_options(&parts.settings, parts.id, parts.former)?;
    let opened = Store::open(disk, clock.clone(), options, parts.former, owned).await;
    let (store, recovered) = opened.map_err(|error| error.to_string())?;
    let from_control = parts.from_control;
    let shard = Shard::new(ShardParts {
        id: parts.id,
        settings: parts.settings.clone(),
        clock,
        store: store.clone(),
        recovered,
        router,
        view: parts.view.clone(),
        metrics: parts.metrics,
        throttles: parts.throttles,
        control: parts.control,
        make_reply_to: Box::new(move |ticket: Ticket| {
            let link = from_control.clone();
            Box::new(move |reply: ControlReply| link.send(Letter::Control { ticket, reply })) as ReplyTo
        }),
    });
    assert!(shard_of_driver.set(shard.clone()).is_ok(), "one shard per core");
    let _ = parts.reports.send((index, Report::Recovered));

    if !shard.told_to_serve().await {
        return Ok(()); // another core could not start
    }
    store.adopt(parts.former).await.map_err(|error| error.to_string())?;
    spawn(Queue::Foreground, store.clone().run_commits());
    spawn(Queue::Foreground, store.clone().run_flushes());
    spawn(Queue::Housekeeping, store.clone().run_settling());
    spawn(Queue::Housekeeping, store.clone().run_checkpoints());
    spawn(Queue::Housekeeping, store.clone().run_retention());
    spawn(Queue::Housekeeping, store.clone().run_compaction());
    spawn(Queue::Housekeeping, store.clone().run_scrub());
    spawn(Queue::Housekeeping, store.clone().run_reserve());
    shard.open_first_view().await?;
    shard.metrics().set(Gauge::Serving, 1);
    spawn(Queue::Housekeeping, measure(shard.clone(), store.clone(), ring.clone(), parts.disk));
    let _ = parts.reports.send((index, Report::Serving));

    let groups = Coordinator::new(shard.clone(), coordinator_settings(&parts.settings));
    spawn(Queue::Foreground, groups.clone().run());
    spawn(Queue::Housekeeping, measure_lags(shard.clone(), groups.clone()));
    let sending = Sending::new(file_path(parts.settings.fetch_path), own.read_ahead_max);
    let listener = Listener::new(ring, parts.listener, sending);
    server::serve(Handlers::new(shard.clone(), groups), listener).await;
    let closed = async { store.close(true).await.map_err(|error| error.to_string()) };
    let given_up = async {
        cores::sleep(CLOSE_MAX).await;
        Err(format!(
            "logs could not be settled within {} s; the next start replays them",
            CLOSE_MAX.as_secs()
        ))
    };
    closed.or(given_up).await
}
