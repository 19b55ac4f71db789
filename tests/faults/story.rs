//! A cluster on a stage, its clients, and what happens to them: a story reads
//! from top to bottom, and its end judges all that was said and heard.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::history::Time;
use super::invariants;
use super::load::{Door, Load, Phase};
use super::net::{Stage, run};
use super::support::{DOMAIN, Nodes, SOON, succeed, wait_for};
use super::twins::TWIN;

/// Users that come at the beginning; each is a contact of one neighbour.
const USERS: usize = 24;

/// Users that come at the end only, to fetch what was stored for them.
const SLEEPERS: usize = 3;

/// How soon after the last fault all tables are equal on all nodes.
const CALM_MAX: Duration = Duration::from_secs(3);

/// From when to when.
pub type Span = (Time, Time);

/// A story while it is told.
pub struct Story {
    /// The stage goes after its nodes.
    pub nodes: Nodes,
    pub stage: Stage,
    pub load: Load,
    /// Nodes whose own streams a fault has broken.
    struck: Vec<bool>,
    /// Who may lose sight of whom: observer, lost.
    may_lose: Vec<(usize, usize)>,
    /// What was found wrong so far.
    pub wrong: Vec<String>,
}

impl Story {
    /// So many nodes that agree, and clients that talk.
    pub async fn begin(count: usize) -> Story {
        Story::begin_with(count, |_| {}).await
    }

    /// As above; `prepare` changes how the nodes are started.
    pub async fn begin_with(count: usize, prepare: impl FnOnce(&mut Nodes)) -> Story {
        let stage = Stage::build(count);
        let mut nodes = Nodes::prepare_at(stage.places(), "");
        prepare(&mut nodes);
        nodes.list.iter_mut().for_each(super::support::Node::spawn);
        nodes.list.iter_mut().for_each(super::support::Node::wait_until_it_serves);
        for node in &nodes.list {
            let begin = Instant::now();
            while !(is_at_peace(node, count) && seen(node) == Some(count)) {
                assert!(begin.elapsed() < SOON, "no agreement: {:?}", node.verdict());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        for user in 0..USERS + SLEEPERS {
            let name = format!("u{user}");
            make(&nodes, &name);
        }
        make(&nodes, TWIN);
        for pair in (0..USERS).step_by(2) {
            let [one, other] = [pair, pair + 1].map(|user| format!("u{user}@{DOMAIN}"));
            nodes.list[0].jabiru(&["roster", &one, "add", &other, "--subscription", "both"], "");
        }
        let door = |node: &super::support::Node| {
            let address = SocketAddr::new(node.place.host, node.ports.direct);
            Door { address, is_open: true }
        };
        let doors = nodes.list.iter().map(door).collect();
        let mut load = Load::new(USERS + SLEEPERS, doors);
        (0..USERS).for_each(|user| load.enter(user));
        let struck = vec![false; count];
        let mut story =
            Story { nodes, stage, load, struck, may_lose: Vec::new(), wrong: Vec::new() };
        story.wait("all users are there", |story| story.load.present() == USERS).await;
        story.load.set_phase(Phase::Talking);
        story.talk(Duration::from_secs(1)).await;
        story
    }

    /// Time passes, and all talk.
    pub async fn talk(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits for a state, for 20 seconds at most.
    pub async fn wait(&mut self, what: &str, is_so: impl Fn(&Story) -> bool) {
        let begin = Instant::now();
        while !is_so(self) {
            assert!(begin.elapsed() < SOON, "waited in vain: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// These may lose sight of that one, by what the story does.
    pub fn may_lose(&mut self, observers: impl IntoIterator<Item = usize>, lost: usize) {
        self.may_lose.extend(observers.into_iter().map(|observer| (observer, lost)));
    }

    /// All others may lose sight of it.
    pub fn all_may_lose(&mut self, lost: usize) {
        self.may_lose((0..self.nodes.list.len()).filter(|at| *at != lost), lost);
    }

    /// `kill -9`, and its clients come back elsewhere.
    pub fn kill(&mut self, at: usize) {
        self.load.set_door(at, false);
        self.struck[at] = true;
        self.all_may_lose(at);
        self.nodes.list[at].kill();
    }

    /// Starts a killed node again.
    pub fn spawn(&mut self, at: usize) {
        self.nodes.list[at].spawn();
        self.load.set_door(at, true);
    }

    /// As above, and waits until it answers.
    pub fn restart(&mut self, at: usize) {
        self.spawn(at);
        self.nodes.list[at].wait_until_it_serves();
    }

    /// Its process stands still, or goes on.
    pub fn signal(&self, at: usize, signal: &str) {
        run("kill", &[signal, &self.nodes.list[at].id().to_string()]);
    }

    /// How many files its process has open.
    pub fn files(&self, at: usize) -> usize {
        let folder = format!("/proc/{}/fd", self.nodes.list[at].id());
        std::fs::read_dir(folder).expect("it runs").count()
    }

    /// Its process may have so many files open.
    pub fn limit_files(&self, at: usize, count: usize) {
        let id = self.nodes.list[at].id().to_string();
        run("prlimit", &["--pid", &id, &format!("--nofile={count}:20000")]);
    }

    /// Nothing passes between these two, both ways.
    pub fn cut_pair(&self, one: usize, other: usize) {
        self.stage.cut(one, other);
        self.stage.cut(other, one);
    }

    /// Nothing passes between the sides; all may lose sight of the other one.
    pub fn split(&mut self, side: &[usize], other: &[usize]) {
        for one in side {
            for two in other {
                self.cut_pair(*one, *two);
                self.may_lose.extend([(*one, *two), (*two, *one)]);
            }
        }
    }

    /// No fault of the network any more.
    pub fn heal(&self) {
        (0..self.nodes.list.len()).for_each(|at| self.stage.mend(at));
    }

    /// All nodes have equal tables, from now within three seconds. Nobody
    /// talks any more: what changes all the time is never equal.
    pub async fn calm(&mut self) {
        self.load.set_phase(Phase::Listening);
        let begin = Instant::now();
        let count = self.nodes.list.len();
        while !self.is_agreed() {
            let patience = begin.elapsed() < SOON;
            assert!(patience, "{count} nodes do not agree: {:#?}", self.views());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let took = begin.elapsed();
        eprintln!("    tables equal after {took:?}");
        if took > CALM_MAX {
            self.wrong.push(format!("tables were equal only after {took:?}"));
        }
    }

    /// No node sees all others.
    pub fn is_split(&self) -> bool {
        let count = self.nodes.list.len();
        self.nodes.list.iter().all(|node| seen(node).is_some_and(|seen| seen < count))
    }

    /// All nodes see all others.
    pub fn is_whole(&self) -> bool {
        let count = self.nodes.list.len();
        self.nodes.list.iter().all(|node| seen(node) == Some(count))
    }

    fn is_agreed(&self) -> bool {
        let count = self.nodes.list.len();
        let mut tables = Vec::new();
        for node in &self.nodes.list {
            if !is_at_peace(node, count) {
                return false;
            }
            let mut sessions = node.sessions();
            sessions.sort();
            tables.push(sessions);
        }
        let mut all = tables.first().cloned().unwrap_or_default();
        all.dedup();
        tables.windows(2).all(|pair| pair[0] == pair[1])
            && all.len() == tables[0].len()
            && all.len() == self.load.present()
    }

    /// What each node says of all.
    fn views(&self) -> Vec<(Option<String>, usize)> {
        let view = |node: &super::support::Node| (node.verdict(), node.sessions().len());
        self.nodes.list.iter().map(view).collect()
    }

    /// Everything must end well: calm, silence, what was stored is fetched,
    /// and the history holds.
    pub async fn end(mut self) {
        self.calm().await;
        self.wait("all users are there again", |story| story.load.present() == USERS).await;
        (USERS..USERS + SLEEPERS).for_each(|user| self.load.enter(user));
        self.wait("all users are there", |story| story.load.present() == USERS + SLEEPERS).await;
        self.listen().await;
        let end = self.load.now();
        self.judge(end);
        self.load.end().await;
        assert!(self.wrong.is_empty(), "{} wrongs:\n{}", self.wrong.len(), some(&self.wrong));
    }

    /// Until nothing is missing any more and each client has heard all that
    /// was under way, or no longer than patience lasts.
    async fn listen(&mut self) {
        let begin = Instant::now();
        let is_whole = |story: &Story| {
            let history = story.load.history();
            let contacts = contacts();
            invariants::vanished(&history).is_empty()
                && invariants::wrongly_seen(&history, &contacts).is_empty()
        };
        while !is_whole(self) && begin.elapsed() < SOON {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // what comes twice comes late
        self.talk(Duration::from_millis(500)).await;
    }

    fn judge(&mut self, end: Time) {
        let contacts = contacts();
        let wrong = {
            let history = self.load.history();
            let broken = history.sessions.iter().filter(|one| one.ended.is_some()).count();
            eprintln!(
                "    {} messages, {} heard, {} bounced, {} sessions, {broken} of them lost",
                history.sent.len(),
                history.heard.len(),
                history.bounced.len(),
                history.sessions.len(),
            );
            let struck = &self.struck;
            [
                invariants::vanished(&history),
                invariants::repeated(&history),
                invariants::disordered(&history),
                invariants::gone_twice(&history),
                invariants::unseen_losses(&history, &contacts, end),
                invariants::wrongly_seen(&history, &contacts),
                invariants::disturbed(&history, |node| !struck[node]),
            ]
            .concat()
        };
        self.wrong.extend(wrong);
        let evictions = self.evictions();
        self.wrong.extend(evictions);
    }

    /// Nodes that lost sight of one that no fault has touched.
    fn evictions(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (observer, node) in self.nodes.list.iter().enumerate() {
            for lost in gone(&node.log()) {
                let lost = self.nodes.list.iter().position(|node| node.name == lost);
                let lost = lost.expect("a node of ours");
                if !self.may_lose.contains(&(observer, lost)) {
                    wrong.push(format!("n{observer} evicted n{lost}, which was healthy"));
                }
            }
        }
        wrong
    }

    /// Time passes without a fault, to compare with. On a machine that has
    /// other work, messages take long by themselves.
    pub async fn usual(&mut self) -> Span {
        let begin = self.load.now();
        self.talk(Duration::from_secs(4)).await;
        (begin, self.load.now())
    }

    /// Messages between clients of these nodes took no longer than `limit`, of
    /// a thousand but ten; or, where they take about as long without a fault,
    /// than twice that.
    pub fn must_be_fast(
        &mut self,
        among: &[usize],
        span: Span,
        usual: Option<Span>,
        limit: Duration,
    ) {
        let usual = usual.map_or(Duration::ZERO, |usual| self.p99(among, usual, limit));
        let p99 = self.p99(among, span, limit);
        if p99 > limit.max(2 * usual) {
            let words = format!("messages among {among:?} took {p99:?}, before {usual:?} (p99)");
            self.wrong.push(words);
        }
    }

    fn p99(&mut self, among: &[usize], span: Span, limit: Duration) -> Duration {
        // what was said last may be under way
        let span = (span.0, span.1.min(self.load.now().saturating_sub(limit)));
        let took = invariants::latencies(&self.load.history(), |at| among.contains(&at), span);
        let p99 = invariants::quantile(&took, 990);
        eprintln!("    {} messages among {among:?}, p99 {p99:?}", took.len());
        if took.len() < 50 {
            self.wrong.push(format!("too few messages to judge by: {}", took.len()));
        }
        p99
    }
}

/// Whether a node sees so many, and finds nothing wrong with them but their
/// clocks: those are wrong where a story wants them so.
fn is_at_peace(node: &super::support::Node, count: usize) -> bool {
    let Some(verdict) = node.verdict() else { return false };
    let Some(rest) = verdict.strip_prefix(&format!("{count} nodes")) else { return false };
    let faults = rest.strip_prefix(": ").map(|faults| faults.split("; "));
    rest == ", all agree"
        || faults.is_some_and(|mut faults| faults.all(|fault| fault.starts_with("the clocks of")))
}

/// How many nodes this one gets an answer from, itself included.
fn seen(node: &super::support::Node) -> Option<usize> {
    let status = node.status()?;
    let nodes = status["nodes"].as_array()?;
    Some(nodes.iter().filter(|node| node["state"] == "serving").count())
}

/// Makes an account, whose name is its password. A busy machine may be late
/// with the answer, so that it is there already.
fn make(nodes: &Nodes, user: &str) {
    let socket = format!("--socket={}", nodes.list[0].socket());
    let jid = format!("{user}@{DOMAIN}");
    wait_for("an account is made", || {
        let made = super::support::run(&["user", &socket, "add", &jid], user);
        made.status.success() || nodes.list[0].accounts().contains(&jid)
    });
}

/// Each pair, both ways.
fn contacts() -> Vec<(usize, usize)> {
    (0..USERS).map(|user| (user, user ^ 1)).collect()
}

/// The nodes that a log says were lost, each time.
fn gone(log: &str) -> Vec<String> {
    let lines = log.lines().filter(|line| line.contains("node gone"));
    let name = |line: &str| Some(line.split("node=").nth(1)?.split(' ').next()?.to_owned());
    lines.filter_map(name).collect()
}

fn some(wrong: &[String]) -> String {
    wrong.iter().take(30).map(|line| format!("  {line}\n")).collect()
}

/// Runs a command of the operator on a node that may not carry it out.
pub fn operate(node: &super::support::Node, words: &[&str], input: &str) -> String {
    let socket = format!("--socket={}", node.socket());
    let (command, rest) = words.split_first().expect("a command");
    succeed(&[&[*command, &socket], rest].concat(), input)
}

#[test]
fn a_log_names_who_was_lost() {
    let log = "2026 INFO jabiru::cluster::handle: node gone node=n1 id=x nodes=2\nother\n";
    assert_eq!(gone(log), ["n1"]);
}
