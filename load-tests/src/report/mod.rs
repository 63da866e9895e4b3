//! What a run found, for people and for programs: [`data`] is what is kept as JSON; [`text`], [`html`], [`pictures`]
//! and [`compare`] read it.

mod chart;
pub mod compare;
pub mod data;
pub mod figure;
pub mod html;
pub mod machine;
pub mod number;
pub mod pictures;
#[cfg(test)]
pub mod sample;
pub mod text;

pub use data::{Distribution, Mark, Outcome, Report, Series, ServerDescription};
pub use figure::{Budget, Figure, FigureKey};
pub use machine::Machine;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_json_even_without_a_value() {
        let mut report = sample::report();
        let text = report.to_json().unwrap();
        assert_eq!(Report::parse(&text).unwrap(), report);
        report.outcomes[0].figures[0].value = f64::NAN;
        let read = Report::parse(&report.to_json().unwrap()).unwrap();
        assert!(read.outcomes[0].figures[0].value.is_nan());
    }

    #[test]
    fn a_report_of_another_format_is_refused() {
        let mut report = sample::report();
        report.format += 1;
        let error = Report::parse(&report.to_json().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "it has format 2; this version reads 1");
        assert!(Report::parse("{}").is_err());
    }
}
