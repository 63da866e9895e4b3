//! Runs tasks on one thread, in an order that the dice choose, and moves time on when all of them wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use rollcall::clock::simulated;
use rollcall_core::Timestamp;

use super::dice::Dice;

/// Whom a task dies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// People, the director, Postgres: they survive a crash.
    World,
    /// The process of this boot.
    Node(u64),
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts tasks from anywhere, and ends those of a node.
#[derive(Clone, Default)]
pub struct Spawner {
    orders: Arc<Mutex<Orders>>,
}

#[derive(Default)]
struct Orders {
    started: Vec<(Group, Work)>,
    ended: Vec<(Group, u64)>,
}

impl Spawner {
    pub fn spawn(&self, group: Group, work: impl Future<Output = ()> + Send + 'static) {
        self.lock().started.push((group, Box::pin(work)));
    }

    /// Ends every task of the group once so many more polls of its tasks are done.
    pub fn end_after(&self, group: Group, polls: u64) {
        self.lock().ended.push((group, polls));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Orders> {
        self.orders.lock().expect("no task panics while it gives orders")
    }
}

pub struct Executor {
    spawner: Spawner,
    dice: Dice,
    tasks: Vec<Option<Task>>,
    ready: Arc<Mutex<Vec<usize>>>,
    ending: Vec<(Group, u64)>,
    /// Groups that are over: what their tasks start while they are dropped never runs.
    over: Vec<Group>,
    /// Called before the tasks of a group are dropped.
    on_end: Box<dyn FnMut(Group)>,
    after_poll: Box<dyn Fn()>,
    pub polls: u64,
}

struct Task {
    group: Group,
    work: Work,
    waker: Waker,
    wake: Arc<Woken>,
}

struct Woken {
    task: usize,
    is_ready: Mutex<bool>,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let mut is_ready = self.is_ready.lock().expect("plain data");
        if !std::mem::replace(&mut *is_ready, true) {
            self.ready.lock().expect("plain data").push(self.task);
        }
    }
}

impl Executor {
    pub fn new(
        spawner: Spawner,
        dice: Dice,
        on_end: impl FnMut(Group) + 'static,
        after_poll: impl Fn() + 'static,
    ) -> Self {
        Self {
            spawner,
            dice,
            tasks: Vec::new(),
            ready: Arc::default(),
            ending: Vec::new(),
            over: Vec::new(),
            on_end: Box::new(on_end),
            after_poll: Box::new(after_poll),
            polls: 0,
        }
    }

    /// Runs until this instant, or until `is_over`.
    pub fn run_until(&mut self, limit: Timestamp, is_over: impl Fn() -> bool) {
        loop {
            self.take_orders();
            if is_over() {
                return;
            }
            let next = {
                let mut ready = self.ready.lock().expect("plain data");
                let count = ready.len() as u64;
                // The product wakes the sockets of a room in the order of a hash map, which is another in each process.
                ready.sort_unstable();
                (count > 0).then(|| ready.remove(if count == 1 { 0 } else { self.dice.below(count) as usize }))
            };
            match next {
                Some(task) => self.poll(task),
                None if simulated::advance(limit) => {}
                None => return,
            }
        }
    }

    fn poll(&mut self, index: usize) {
        let Some(task) = self.tasks[index].as_mut() else { return };
        *task.wake.is_ready.lock().expect("plain data") = false;
        self.polls += 1;
        let group = task.group;
        if let Poll::Ready(()) = task.work.as_mut().poll(&mut Context::from_waker(&task.waker)) {
            self.tasks[index] = None;
        }
        (self.after_poll)();
        for (ending, polls) in &mut self.ending {
            if *ending == group {
                *polls = polls.saturating_sub(1);
            }
        }
    }

    fn take_orders(&mut self) {
        loop {
            let orders = std::mem::take(&mut *self.spawner.lock());
            if orders.started.is_empty() && orders.ended.is_empty() && self.ending.iter().all(|(_, polls)| *polls > 0) {
                return;
            }
            for (group, work) in orders.started {
                if !self.over.contains(&group) {
                    self.start(group, work);
                }
            }
            self.ending.extend(orders.ended);
            self.ending.retain(|(group, _)| !self.over.contains(group));
            let mut over: Vec<_> =
                self.ending.iter().filter(|(_, polls)| *polls == 0).map(|(group, _)| *group).collect();
            over.sort_unstable();
            over.dedup();
            self.ending.retain(|(group, _)| !over.contains(group));
            for group in over {
                self.over.push(group);
                (self.on_end)(group);
                for task in &mut self.tasks {
                    if task.as_ref().is_some_and(|task| task.group == group) {
                        *task = None;
                    }
                }
            }
        }
    }

    fn start(&mut self, group: Group, work: Work) {
        let task = self.tasks.len();
        let wake = Arc::new(Woken { task, is_ready: Mutex::new(true), ready: self.ready.clone() });
        let waker = Waker::from(wake.clone());
        self.tasks.push(Some(Task { group, work, waker, wake }));
        self.ready.lock().expect("plain data").push(task);
    }
}
