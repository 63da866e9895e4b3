//! What all turns of a system say together, and how it is shown.

use std::fmt::Write as _;

use serde::Serialize;

use super::turn::{Load, RoomTurn, Turn};
use crate::measure::median;
use crate::report::Machine;

/// The file that `--json` writes.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub machine: Machine,
    pub load: Load,
    pub systems: Vec<Row>,
    pub skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
pub(super) struct Skipped {
    pub name: String,
    pub reason: String,
}

/// Medians over the turns of one system, of those that are not void.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub name: String,
    pub memory_bytes: Option<f64>,
    pub kernel_bytes: Option<f64>,
    pub ping_cpu_us: Option<f64>,
    /// To the floor of Rollcall's library, and to the epoll floor.
    pub ping_cpu_to_library: Option<f64>,
    pub ping_cpu_to_epoll: Option<f64>,
    pub ping_p99_us: Option<f64>,
    pub saturated_per_s: Option<f64>,
    pub seen_p50_us: Option<f64>,
    pub seen_p99_us: Option<f64>,
    pub frames: Option<f64>,
    pub bytes: Option<f64>,
    /// Share of members whose list was exactly right.
    pub exact: Option<f64>,
    pub turns: Vec<Turn>,
}

impl Row {
    pub fn new(name: String, turns: Vec<Turn>) -> Self {
        let sound: Vec<&Turn> = turns.iter().filter(|turn| turn.void.is_none()).collect();
        let of = |pick: fn(&Turn) -> Option<f64>| over(sound.iter().filter_map(|turn| pick(turn)));
        let rooms = |pick: fn(&RoomTurn) -> f64| over(sound.iter().filter_map(|turn| turn.room.as_ref()).map(pick));
        Self {
            name,
            memory_bytes: of(|turn| turn.memory_bytes),
            kernel_bytes: of(|turn| Some(turn.kernel_bytes)),
            ping_cpu_us: of(|turn| turn.ping_cpu_us),
            ping_cpu_to_library: None,
            ping_cpu_to_epoll: None,
            ping_p99_us: of(|turn| Some(turn.ping_p99_us)),
            saturated_per_s: of(|turn| turn.saturated_per_s),
            seen_p50_us: rooms(|room| room.seen_p50_us),
            seen_p99_us: rooms(|room| room.seen_p99_us),
            frames: rooms(|room| room.frames),
            bytes: rooms(|room| room.bytes),
            exact: rooms(|room| room.exact as f64 / room.members.max(1) as f64),
            turns,
        }
    }

    /// Why this row says nothing, if so.
    pub fn void(&self) -> Option<&str> {
        self.turns.iter().find_map(|turn| turn.void.as_deref())
    }
}

fn over(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| median(values))
}

impl Report {
    /// Fills in the ratios to the floors that were measured in the same run.
    pub fn relate(&mut self, library: &str, epoll: &str) {
        let cpu = |name: &str| self.systems.iter().find(|row| row.name == name).and_then(|row| row.ping_cpu_us);
        let (library, epoll) = (cpu(library), cpu(epoll));
        for row in &mut self.systems {
            row.ping_cpu_to_library = row.ping_cpu_us.zip(library).map(|(own, floor)| own / floor);
            row.ping_cpu_to_epoll = row.ping_cpu_us.zip(epoll).map(|(own, floor)| own / floor);
        }
    }

    pub fn passes(&self) -> bool {
        self.skipped.is_empty() && self.systems.iter().all(|row| row.void().is_none())
    }

    pub fn table(&self) -> String {
        const HEADS: [&str; 13] = [
            "system",
            "memory",
            "kernel",
            "ping CPU",
            "to (a)",
            "to (b)",
            "p99",
            "saturated",
            "seen p50",
            "p99",
            "frames",
            "bytes",
            "exact",
        ];
        const UNITS: [&str; 13] = ["", "KiB", "KiB", "µs", "x", "x", "ms", "pings/s", "ms", "ms", "each", "KiB", "%"];
        let mut rows = vec![HEADS.map(str::to_owned), UNITS.map(str::to_owned)];
        rows.extend(self.systems.iter().map(cells));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 13] = std::array::from_fn(width);
        let mut table = String::new();
        for row in &rows {
            let mut line = format!("{:<w$}", row[0], w = widths[0]);
            for (cell, width) in row.iter().zip(widths).skip(1) {
                // Writing to a string cannot fail.
                write!(line, "  {cell:>width$}").unwrap_or_default();
            }
            table.push_str(line.trim_end());
            table.push('\n');
        }
        for row in &self.systems {
            if let Some(reason) = row.void() {
                writeln!(table, "void: {}: {reason}", row.name).unwrap_or_default();
            }
        }
        for skipped in &self.skipped {
            writeln!(table, "skipped: {}: {}", skipped.name, skipped.reason).unwrap_or_default();
        }
        table
    }
}

fn cells(row: &Row) -> [String; 13] {
    let cell = |value: Option<f64>, divisor: f64, decimals: usize| match value {
        Some(value) => format!("{:.decimals$}", value / divisor),
        None => "-".to_owned(),
    };
    [
        row.name.clone(),
        cell(row.memory_bytes, 1024.0, 2),
        cell(row.kernel_bytes, 1024.0, 1),
        cell(row.ping_cpu_us, 1.0, 1),
        cell(row.ping_cpu_to_library, 1.0, 2),
        cell(row.ping_cpu_to_epoll, 1.0, 2),
        cell(row.ping_p99_us, 1000.0, 1),
        cell(row.saturated_per_s, 1.0, 0),
        cell(row.seen_p50_us, 1000.0, 1),
        cell(row.seen_p99_us, 1000.0, 1),
        cell(row.frames, 1.0, 0),
        cell(row.bytes, 1024.0, 1),
        cell(row.exact, 0.01, 1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(ping_cpu_us: f64, void: Option<&str>) -> Turn {
        Turn { ping_cpu_us: Some(ping_cpu_us), void: void.map(str::to_owned), ..Turn::default() }
    }

    fn report(void: Option<&str>) -> Report {
        let systems = vec![
            Row::new("floor".to_owned(), vec![turn(10.0, None), turn(12.0, None)]),
            Row::new("rollcall".to_owned(), vec![turn(22.0, void)]),
        ];
        let load = Load { connections: 1, pings_per_s: 1.0, seconds: 1.0, room: 1 };
        Report { machine: Machine::describe(), load, systems, skipped: Vec::new() }
    }

    #[test]
    fn ratios_are_of_medians() {
        let mut report = report(None);
        report.relate("floor", "none");
        assert_eq!(report.systems[1].ping_cpu_to_library, Some(2.0));
        assert_eq!(report.systems[1].ping_cpu_to_epoll, None);
        assert!(report.passes());
        let table = report.table();
        assert!(table.lines().nth(3).unwrap().starts_with("rollcall") && table.contains("2.00"), "{table}");
    }

    #[test]
    fn what_is_void_or_skipped_does_not_pass() {
        let late = report(Some("late"));
        assert!(!late.passes() && late.systems[1].ping_cpu_us.is_none());
        let mut report = report(None);
        report.skipped.push(Skipped { name: "ws".to_owned(), reason: "Node is missing".to_owned() });
        assert!(!report.passes());
        assert!(report.table().ends_with("skipped: ws: Node is missing\n"));
    }
}
