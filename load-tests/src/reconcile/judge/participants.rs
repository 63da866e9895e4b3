//! Participant by participant: the bill, the spans and the bounds as sets of time.

use std::collections::HashMap;

use super::super::books::Bill;
use super::super::cover::{Cover, Stretch};
use super::{Fault, Judge, Who};

impl Judge<'_> {
    /// As sets of time: what is billed is a part of what was possible, and contains what was proven.
    pub(super) fn participants(&mut self) {
        let mut bills: HashMap<Who, &Bill> =
            self.statement.bills.iter().map(|bill| ((bill.session.clone(), bill.participant.clone()), bill)).collect();
        let files = std::mem::take(&mut self.files);
        for (who, file) in &files {
            let stretches = file
                .spans
                .iter()
                .map(|span| Stretch::new(span.connected_at, span.disconnected_at.unwrap_or(span.connected_at)));
            let (spans, at_most) = (Cover::of(stretches.clone()), Cover::of(file.at_most.iter().copied()));
            let at_least = Cover::of(file.at_least.iter().copied());
            let over = spans.minus(&at_most);
            if over.micros() > 0 {
                let words = format!("billed while nobody can have been there: {:?}", over.stretches());
                self.blame(Fault::OverBilled, Some(who.clone()), over.micros(), words);
            }
            let uncertainty_us: i64 = file.spans.iter().map(|span| span.uncertainty_us).sum();
            let under = at_least.minus(&spans);
            let beyond = under.micros() - uncertainty_us - file.excused_us;
            if beyond > 0 {
                let words = format!("proven and not billed, uncertainty {uncertainty_us} us: {:?}", under.stretches());
                self.blame(Fault::UnderBilled, Some(who.clone()), beyond, words);
            }
            let connected_us = stretches.map(Stretch::micros).sum();
            let expected = Bill {
                session: who.0.clone(),
                participant: who.1.clone(),
                connections: file.spans.len() as i64,
                connected_us,
                billable_us: spans.micros(),
                overlap_us: connected_us - spans.micros(),
                uncertainty_us,
                is_open: false,
            };
            match bills.remove(who) {
                None => self.blame(Fault::Lost, Some(who.clone()), spans.micros(), "no bill".to_owned()),
                Some(bill) => {
                    self.bill(who, bill, &expected, &at_most);
                    let tally = &mut self.judgement.tally;
                    tally.participants += 1;
                    tally.billed_us += bill.billable_us;
                    tally.overlap_us += bill.overlap_us;
                    tally.uncertainty_us += bill.uncertainty_us;
                    tally.uncertainty_max_us = tally.uncertainty_max_us.max(bill.uncertainty_us);
                    tally.at_least_us += at_least.micros();
                    tally.at_most_us += at_most.micros();
                    tally.under_us += under.micros();
                }
            }
        }
        for (who, bill) in bills {
            self.blame(Fault::Unexplained, Some(who), bill.billable_us, "a bill without spans".to_owned());
        }
        self.judgement.tally.over_us =
            self.judgement.violations.iter().filter(|one| one.fault == Fault::OverBilled).map(|one| one.micros).sum();
    }

    fn bill(&mut self, who: &Who, bill: &Bill, expected: &Bill, at_most: &Cover) {
        if bill.is_open {
            self.blame(Fault::StillOpen, Some(who.clone()), 0, "the bill is open".to_owned());
        } else if bill != expected {
            let words = format!("the bill says {bill:?}, the spans say {expected:?}");
            self.blame(Fault::BillDiffers, Some(who.clone()), (bill.billable_us - expected.billable_us).abs(), words);
        }
        let over = bill.billable_us - at_most.micros();
        if over > 0 {
            let words = format!("{} us billed, {} us possible", bill.billable_us, at_most.micros());
            self.blame(Fault::OverBilled, Some(who.clone()), over, words);
        }
    }
}
