//! Says what is going on: two moving lines on a terminal, a line for each step and one every few seconds elsewhere. It
//! also remembers when each step began, for the report.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::clock;
use crate::report::Mark;

/// Where nothing can move, a live line is printed this often.
const LIVE_LINE_INTERVAL: Duration = Duration::from_secs(10);

const STEP: &str = "{spinner} {prefix:.bold} {wide_msg} {elapsed}";
const STEP_OF: &str = "{spinner} {prefix:.bold} {msg} [{bar:24}] {human_pos}/{human_len} {elapsed}";
const LIVE: &str = "  {wide_msg:.dim}";

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Progress {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    scenario: String,
    started_at: Instant,
    step: ProgressBar,
    live: ProgressBar,
    is_terminal: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    marks: Vec<Mark>,
    live_printed_at: Option<Instant>,
}

impl Progress {
    pub fn new(scenario: &str) -> Self {
        let bars = MultiProgress::new();
        let is_terminal = !bars.is_hidden();
        let (step, live) = (bars.add(ProgressBar::new_spinner()), bars.add(ProgressBar::new_spinner()));
        step.set_prefix(scenario.to_owned());
        set_style(&step, STEP);
        set_style(&live, LIVE);
        step.enable_steady_tick(Duration::from_millis(120));
        let (scenario, started_at, state) = (scenario.to_owned(), clock::now(), Mutex::default());
        Self { shared: Arc::new(Shared { scenario, started_at, step, live, is_terminal, state }) }
    }

    /// Begins a step.
    pub fn step(&self, text: impl Into<String>) {
        set_style(&self.shared.step, STEP);
        self.begin(text.into());
    }

    /// Begins a step that counts up to a number.
    pub fn step_of(&self, text: impl Into<String>, total: usize) {
        set_style(&self.shared.step, STEP_OF);
        self.shared.step.set_length(total as u64);
        self.shared.step.set_position(0);
        self.begin(text.into());
    }

    /// How far the step is.
    pub fn count(&self, done: usize) {
        self.shared.step.set_position(done as u64);
    }

    /// What the server does at this moment.
    pub fn live(&self, text: String) {
        if self.shared.is_terminal {
            self.shared.live.set_message(text);
            return;
        }
        let now = clock::now();
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.live_printed_at.is_none_or(|at| now - at >= LIVE_LINE_INTERVAL) {
            state.live_printed_at = Some(now);
            eprintln!("{} {:>5.0} s  {text}", self.shared.scenario, (now - self.shared.started_at).as_secs_f64());
        }
    }

    /// Takes the moving lines off the terminal, so that a report can follow.
    pub fn finish(&self) {
        self.shared.live.finish_and_clear();
        self.shared.step.finish_and_clear();
    }

    pub fn elapsed_s(&self) -> f64 {
        (clock::now() - self.shared.started_at).as_secs_f64()
    }

    pub fn marks(&self) -> Vec<Mark> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).marks.clone()
    }

    fn begin(&self, text: String) {
        let at_s = self.elapsed_s();
        if !self.shared.is_terminal {
            eprintln!("{} {at_s:>5.0} s  {text}", self.shared.scenario);
        }
        self.shared.step.set_message(text.clone());
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).marks.push(Mark { at_s, text });
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.live.finish_and_clear();
        self.step.finish_and_clear();
    }
}

fn set_style(bar: &ProgressBar, template: &str) {
    // The templates are constants; one that cannot be read leaves the default.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
}
