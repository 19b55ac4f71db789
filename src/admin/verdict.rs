//! What is wrong in a cluster whose nodes have said how they are, and what is
//! worth a look.

use std::time::Duration;

use crate::admin::report::{Heard, NodeReport};

/// Clocks that differ by more are named. A guess: less than what people
/// notice in the times of their messages.
pub(super) const CLOCK_OFF_MAX: Duration = Duration::from_secs(5);

/// What is not as it should be.
pub(super) fn faults(own: &NodeReport, heard: &[Heard], silent: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    for name in silent {
        faults.push(format!("{name} does not answer"));
    }
    for report in heard.iter().map(|heard| &heard.report).chain([own]) {
        if let Some(failing) = &report.durable_failing {
            faults.push(format!("{} cannot keep changes: {failing}", report.name));
        }
    }
    for Heard { report, clock_off, .. } in heard {
        if report.members != own.members {
            faults.push(format!("{} sees other nodes than {}", report.name, own.name));
        }
        if report.durable_digest != own.durable_digest {
            faults.push(format!("{} has other durable rows than {}", report.name, own.name));
        }
        let differs = |(name, number): &(&String, &u64)| {
            own.settings.get(*name).is_some_and(|ours| ours != *number)
        };
        let differing: Vec<&str> =
            report.settings.iter().filter(differs).map(|(name, _)| name.as_str()).collect();
        if !differing.is_empty() {
            let (names, ours) = (differing.join(", "), &own.name);
            faults.push(format!("{} has another configuration than {ours}: {names}", report.name));
        }
        let off = clock_off.unsigned_abs();
        if u128::from(off) > CLOCK_OFF_MAX.as_millis() {
            faults
                .push(format!("the clocks of {} and {} differ by {off} ms", report.name, own.name));
        }
    }
    faults
}

/// What is under way, and what is worth a look though all is served.
pub(super) fn notes(own: &NodeReport, heard: &[Heard]) -> Vec<String> {
    let reports = || heard.iter().map(|heard| &heard.report).chain([own]);
    let used = |report: &NodeReport| report.cookies.first().cloned().unwrap_or_default();
    let is_changing = reports().any(|one| one.cookies.len() > 1 || used(one) != used(own));
    let mut notes = Vec::new();
    if is_changing {
        let mut cookies: Vec<String> = reports()
            .map(|report| format!("{} uses {}", report.name, report.cookies.join(", accepts ")))
            .collect();
        cookies.sort();
        notes.push(format!("the cookie is being changed: {}", cookies.join("; ")));
    }
    for report in reports() {
        for (to, by) in &report.detours {
            let from = &report.name;
            notes.push(format!("{from} cannot reach {to} itself: it goes through {by}"));
        }
    }
    notes.sort();
    notes
}
